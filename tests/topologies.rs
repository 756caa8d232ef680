//! Redis as it is run: the shipped files of `docs/redis`, each against the servers that it is for.

#[path = "topologies/cluster.rs"]
mod cluster;
#[path = "topologies/example.rs"]
mod example;
#[path = "topologies/failover.rs"]
mod failover;
mod process;
#[path = "topologies/servers.rs"]
mod servers;
#[path = "topologies/single.rs"]
mod single;
mod support;
#[path = "topologies/tls.rs"]
mod tls;
