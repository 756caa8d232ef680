//! The program.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::http::ask;

#[tokio::test]
async fn the_program_prints_first_where_it_listens() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_token-sidecar-simulator"))
        .args(["--listen", "127.0.0.1:0", "--token-life", "90s", "--seed", "1", "--flaresolverr", "3.5.2"])
        .args(["--faults", r#"{"api_status": 503}"#])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let url = lines.next_line().await.unwrap().unwrap();
    let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    assert_eq!(ask(address, "GET /", &[], "").await.unwrap().json()["version"], "3.5.2");
    assert_eq!(ask(address, "GET /web/api/v2/search/product", &[], "").await.unwrap().status, 503);
    let is_healthy = async || {
        let mut check = Command::new(env!("CARGO_BIN_EXE_token-sidecar-simulator"));
        check
            .args(["--listen", &address.to_string(), "healthcheck"])
            .stderr(Stdio::null())
            .status()
            .await
            .unwrap()
            .success()
    };
    assert!(is_healthy().await);
    program.kill().await.unwrap();
    assert!(!is_healthy().await);
}

#[tokio::test]
async fn the_help_shows_how_to_use_it_and_a_wrong_fault_what_is_right() {
    let run = async |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_token-sidecar-simulator")).args(arguments).output().await.unwrap()
    };
    let help = String::from_utf8(run(&["--help"]).await.stdout).unwrap();
    assert!(help.contains("CHITAI_GOROD_SITE_URL=http://127.0.0.1:8191/shop"), "{help}");
    let wrong = run(&["--faults", r#"{"cookies": "x"}"#]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("unknown field `cookies`"));
}
