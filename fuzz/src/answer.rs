//! Responses of a solver. The first line is the status, the rest the body.

use reqwest::StatusCode;
use token_sidecar::domain::extract::Cookie;
use token_sidecar::sources::flaresolverr::read_answer;

use crate::{cookies, excerpt};

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let recorded = crate::seeds::answers().into_iter().map(|(status, body)| format!("{status}\n{body}").into_bytes());
    let odd = crate::seeds::texts(&[
        "200\n{\"status\":\"ok\",\"solution\":{\"cookies\":[{\"name\":\"access-token\",\"value\":\"Bearer%20abc\",\
         \"domain\":\".shop.test\",\"path\":\"/\",\"expires\":1e12}],\"url\":\"http://shop.test/\",\"userAgent\":\"x\"}}",
        "500\n{\"status\":\"error\",\"message\":\"Error: Timeout after 60.0 seconds.\"}",
        "408\n{\"detail\":\"Timed out at http://u:p@h/ with eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2ln\"}",
        "500\n{\"message\":\"unknown error: net::ERR_PROXY_CONNECTION_FAILED\"}",
        "200\n{\"status\":\"ok\",\"solution\":{\"cookies\":[{\"name\":\"a;b\",\"value\":\"c\"},{\"name\":\"a\\r\",\"value\":\"c\"},\
         {\"name\":\"a\",\"value\":\"c\\u0000;\"}]}}",
        "502\n<html>",
    ]);
    recorded.chain(odd).collect()
}

pub(crate) fn check(data: &[u8]) {
    let end = data.iter().position(|b| *b == b'\n').unwrap_or(0);
    let status = StatusCode::from_bytes(&data[..end]).unwrap_or(StatusCode::OK);
    match read_answer(status, data.get(end + 1..).unwrap_or_default()) {
        Ok(solution) => {
            assert!(status.is_success());
            assert!(solution.cookies.len() <= 1_000, "{} cookies", solution.cookies.len());
            solution.cookies.iter().for_each(assert_sendable);
            cookies::check_solution(&solution, &[]);
        }
        Err(error) => {
            let text = error.message;
            assert!(text.starts_with("FlareSolverr: ") && text.chars().count() <= 400, "{text}");
            assert!(!text.contains(char::is_control), "{text:?}");
            assert!(!excerpt::looks_secret(&text), "{text}");
        }
    }
}

fn assert_sendable(cookie: &Cookie) {
    let Cookie { name, value, .. } = cookie;
    assert!(name.len() + value.len() <= 32 * 1024);
    assert!(!name.is_empty() && !name.contains(['=', ';']) && !value.contains(';'), "{name}={value}");
    assert!(![name, value].into_iter().any(|text| text.contains(char::is_control)), "{name}={value:?}");
}
