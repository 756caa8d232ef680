//! The API: which tokens it accepts, and its faults.

use std::time::Duration;

use simulator::{Faults, Settings, Simulator, fingerprint};

use crate::http::{JSON, ask, cookie, search, send, solve, start, token, with};

const SEARCH: &str = "GET /web/api/v2/search/product";

#[tokio::test]
async fn only_live_tokens_are_accepted() {
    let simulator = start();
    let (one, two) = (simulator.mint(), simulator.mint());
    let authorization = format!("Bearer {}", one.token);
    let reply = ask(simulator.address(), SEARCH, &[("authorization", &authorization)], "").await.unwrap();
    assert_eq!(reply.json()["data"]["type"], "searchProductResult");

    let refused = ask(simulator.address(), SEARCH, &[], "").await.unwrap();
    assert_eq!((refused.status, &*refused.body), (401, r#"{"message":"Unauthorized"}"#));
    assert_eq!(search(&simulator, "anything").await, 401);
    assert_eq!(search(&simulator, &simulator.mint_for(Duration::ZERO).token).await, 401);

    assert!(simulator.revoke(&one.fingerprint) && !simulator.revoke(&one.fingerprint));
    assert_eq!((search(&simulator, &one.token).await, search(&simulator, &two.token).await), (401, 200));
    simulator.revoke_all();
    assert_eq!(search(&simulator, &two.token).await, 401);
    let answered = simulator.statistics().api.answered;
    assert_eq!((answered[&200], answered[&401]), (2, 5));
}

#[tokio::test]
async fn anonymous_tokens_come_without_a_browser() {
    let simulator = start();
    let reply = ask(simulator.address(), "POST /web/api/v1/auth/anonymous", &[JSON], "{}").await.unwrap();
    let answer = reply.json();
    let token = answer["token"]["accessToken"].as_str().unwrap().strip_prefix("Bearer ").unwrap();
    assert_eq!(reply.status, 201);
    assert!(answer["token"]["expAccessToken"].is_i64());
    assert_eq!(search(&simulator, token).await, 200);
}

#[tokio::test]
async fn a_fixed_status_comes_with_the_body_of_its_kind() {
    let simulator = start();
    let token = simulator.mint().token;
    for status in [401, 429, 500, 503] {
        simulator.faults(Faults { api_status: Some(status), ..Faults::default() });
        assert_eq!(search(&simulator, &token).await, status);
    }
    simulator.faults(Faults { api_status: Some(403), ..Faults::default() });
    let reply = ask(simulator.address(), SEARCH, &[], "").await.unwrap();
    assert!(reply.status == 403 && reply.body.starts_with("<html>"), "{}", reply.body);
    simulator.faults(Faults { api_body: Some("<html>captcha".to_owned()), remaining: Some(1), ..Faults::default() });
    let reply = ask(simulator.address(), SEARCH, &[], "").await.unwrap();
    assert_eq!((reply.status, &*reply.body), (200, "<html>captcha"));
    assert_eq!(search(&simulator, &token).await, 200);
}

#[tokio::test]
async fn the_edge_may_want_the_browsers_cookie_and_user_agent_together() {
    let simulator = with(Faults { require_user_agent: true, ..Faults::default() });
    let answer = solve(&simulator, "/shop").await.unwrap().json();
    let authorization = format!("Bearer {}", token(&answer).unwrap());
    let user_agent = answer["solution"]["userAgent"].as_str().unwrap();
    let cookies = format!("a=b; __ddg1_={}", cookie(&answer, "__ddg1_").unwrap());
    for (user_agent, cookies, status) in
        [(user_agent, &*cookies, 200), ("curl", &cookies, 403), (user_agent, "", 403), (user_agent, "__ddg1_=x", 403)]
    {
        let headers = [("authorization", &*authorization), ("user-agent", user_agent), ("cookie", cookies)];
        assert_eq!(ask(simulator.address(), SEARCH, &headers, "").await.unwrap().status, status);
    }
    assert_eq!(simulator.statistics().api.user_agents, ["curl", user_agent]);
}

#[tokio::test]
async fn calls_can_be_slow_hang_or_be_cut_off() {
    let simulator = with(Faults { api_delay: Duration::from_millis(30), ..Faults::default() });
    assert_eq!(search(&simulator, "x").await, 401);

    simulator.faults(Faults { api_hang: true, ..Faults::default() });
    let release = async {
        simulator.api_called(2).await;
        simulator.clear_faults();
    };
    assert_eq!(tokio::join!(search(&simulator, "x"), release).0, 401);

    simulator.faults(Faults { api_reset: true, ..Faults::default() });
    assert!(ask(simulator.address(), SEARCH, &[], "").await.is_none());
    assert!(ask(simulator.address(), "POST /web/api/v1/auth/anonymous", &[JSON], "{}").await.is_none());
}

#[tokio::test]
async fn tokens_are_remembered_by_fingerprint_alone() {
    let settings = Settings { seed: Some(3), token_life: Duration::from_secs(60), ..Settings::default() };
    let simulator = Simulator::start(settings).unwrap();
    let minted = simulator.mint();
    search(&simulator, &minted.token).await;
    let seen = simulator.statistics().api.fingerprints;
    assert_eq!(seen, [fingerprint(&minted.token)]);
    assert_eq!(minted.fingerprint, seen[0]);
}

#[tokio::test]
async fn a_waiting_client_is_cut_off_when_the_simulator_stops() {
    let simulator = with(Faults { api_hang: true, ..Faults::default() });
    let address = simulator.address();
    let mut client = send(address, SEARCH, &[], "").await;
    simulator.api_called(1).await;
    simulator.stop().await;
    let mut rest = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut client, &mut rest).await;
    assert!(rest.is_empty());
    Simulator::start(Settings { listen: address, ..Settings::default() }).unwrap();
}
