//! `/control`, with requests like curl's.

use serde_json::{Value, json};

use crate::http::{ask, search, solve, start};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

#[tokio::test]
async fn faults_are_set_shown_and_cleared() {
    let simulator = start();
    let document = r#"{"solve_error":"timeout","remaining":2}"#;
    let reply = ask(simulator.address(), "PUT /control/faults", &[FORM], document).await.unwrap();
    assert_eq!((reply.status, reply.json()), (200, json!({"remaining": 2, "solve_error": "timeout"})));
    solve(&simulator, "/shop").await;
    let shown = ask(simulator.address(), "GET /control/faults", &[], "").await.unwrap();
    assert_eq!(shown.json(), json!({"remaining": 1, "solve_error": "timeout"}));
    assert_eq!(ask(simulator.address(), "DELETE /control/faults", &[], "").await.unwrap().status, 204);
    assert_eq!(ask(simulator.address(), "GET /control/faults", &[], "").await.unwrap().json(), json!({}));
}

#[tokio::test]
async fn a_document_that_is_not_understood_changes_nothing() {
    let simulator = start();
    for (document, named) in [
        (r#"{"solve_dealy":1}"#, "unknown field `solve_dealy`"),
        (r#"{"cookie":"stale"}"#, "unknown variant `stale`"),
        (r#"{"solve_error":"slow"}"#, "`solve_error` is one of"),
        ("{", "EOF"),
    ] {
        let reply = ask(simulator.address(), "PUT /control/faults", &[FORM], document).await.unwrap();
        let error = reply.json()["error"].take();
        assert!(reply.status == 400 && error.as_str().unwrap().contains(named), "{error}");
    }
    assert_eq!(ask(simulator.address(), "GET /control/faults", &[], "").await.unwrap().json(), json!({}));
}

#[tokio::test]
async fn tokens_are_minted_and_revoked() {
    let simulator = start();
    let mint = async |body: &str| -> Value {
        ask(simulator.address(), "POST /control/mint", &[FORM], body).await.unwrap().json()
    };
    let revoke = async |body: String| -> Value {
        ask(simulator.address(), "POST /control/revoke", &[FORM], &body).await.unwrap().json()
    };
    let (one, two) = (mint("").await, mint(r#"{"life":60000}"#).await);
    assert!(one["expires_at"].as_i64().unwrap() - two["expires_at"].as_i64().unwrap() > 160_000);
    assert_eq!(revoke(json!({"fingerprint": one["fingerprint"]}).to_string()).await, json!({"revoked": 1}));
    assert_eq!(search(&simulator, one["token"].as_str().unwrap()).await, 401);
    assert_eq!(search(&simulator, two["token"].as_str().unwrap()).await, 200);
    assert_eq!(revoke(String::new()).await, json!({"revoked": 1}));
}

#[tokio::test]
async fn statistics_count_what_happened_until_a_reset() {
    let simulator = start();
    solve(&simulator, "/shop").await;
    search(&simulator, "x").await;
    let statistics = async || ask(simulator.address(), "GET /control/statistics", &[], "").await.unwrap().json();
    let counted = statistics().await;
    assert_eq!(counted["solves"]["commands"], json!({"request.get": 1}));
    assert_eq!(counted["solves"]["last_request"]["maxTimeout"], 30000);
    assert_eq!(counted["api"]["answered"], json!({"401": 1}));
    assert!(counted["solves"]["arrivals_ns"][0].as_i64() < counted["now_ns"].as_i64());
    assert_eq!(ask(simulator.address(), "POST /control/reset", &[], "").await.unwrap().status, 204);
    let counted = statistics().await;
    assert_eq!((&counted["solves"]["started"], &counted["minted"]), (&json!(0), &json!(0)));
}
