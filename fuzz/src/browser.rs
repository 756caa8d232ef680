//! Messages of a browser, one a line.

use token_sidecar::sources::browser::read_messages;

use crate::excerpt;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    crate::seeds::texts(&[
        r#"{"id":1,"result":{}}
{"method":"Fetch.requestPaused","params":{"requestId":"1","frameId":"page","resourceType":"Document","request":{"url":"http://127.0.0.1:6379/","headers":{"User-Agent":"x"}}}}"#,
        r#"{"method":"Fetch.requestPaused","params":{"requestId":"1","request":{"url":"https://shop.test/api","headers":{"Authorization":"Bearer abc"}}}}"#,
        r#"{"method":"Fetch.authRequired","params":{"requestId":"1","authChallenge":{"source":"Proxy"}}}"#,
        r#"{"method":"Network.responseReceived","params":{"type":"Document","frameId":"page","response":{"status":403}}}
{"method":"Network.dataReceived","params":{"dataLength":1000000000}}"#,
        r#"{"method":"Page.frameNavigated","params":{"frame":{"id":"page","url":"https://shop.test/"}}}
{"sessionId":"session","method":"Inspector.targetCrashed","params":{}}"#,
        r#"{"method":"Target.attachedToTarget","params":{"sessionId":"frame","targetInfo":{"browserContextId":"context"}}}"#,
        r#"{"error":{"code":-32601,"message":"'Fetch.enable' wasn't found"},"id":2}"#,
    ])
}

pub(crate) fn check(data: &[u8]) {
    let Ok(site) = "https://shop.test/api".parse() else { return };
    if let Some(error) = read_messages(&site, data) {
        let text = error.message;
        assert!(text.starts_with("browser: ") && text.chars().count() <= 400, "{text}");
        assert!(!text.contains(char::is_control), "{text:?}");
        assert!(!excerpt::looks_secret(&text), "{text}");
    }
}
