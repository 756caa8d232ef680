//! A Sentinel with short times.

use super::redis_server::RedisServer;

/// The name of the master.
pub(crate) const MASTER: &str = "mymaster";

/// One of several; this many must agree on a failover.
pub(crate) fn sentinel_of(master: &RedisServer, agreeing: usize, further: &[&str]) -> RedisServer {
    let lines = [
        format!("sentinel monitor {MASTER} 127.0.0.1 {} {agreeing}", master.port()),
        format!("sentinel down-after-milliseconds {MASTER} 1000"),
        format!("sentinel failover-timeout {MASTER} 4000"),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).chain(further.iter().copied()).collect();
    RedisServer::start_sentinel(&lines)
}
