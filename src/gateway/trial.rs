//! What the tests of the gateway share.

use std::time::Duration;

use crate::config::{GatewayConfig, UserAgent};

pub(super) fn config() -> GatewayConfig {
    GatewayConfig {
        listen: None,
        key: None,
        wait: Duration::from_secs(1),
        replay_limit: 0,
        replay_unsafe: true,
        max_waiting: 1,
        user_agent: UserAgent::Bundle,
        merge_cookies: false,
        pass_set_cookie: false,
        socket_mode: 0o660,
    }
}
