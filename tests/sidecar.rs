//! Running sidecars from outside: what is published, stored and served, whatever happens around them.

#[path = "sidecar/acl.rs"]
mod acl;
#[path = "sidecar/client.rs"]
mod client;
#[path = "sidecar/clock.rs"]
mod clock;
#[path = "sidecar/cookies.rs"]
mod cookies;
#[path = "sidecar/crashes.rs"]
mod crashes;
#[path = "sidecar/crowd.rs"]
mod crowd;
#[path = "sidecar/disk.rs"]
mod disk;
#[path = "sidecar/ending.rs"]
mod ending;
#[path = "sidecar/env_file.rs"]
mod env_file;
#[path = "sidecar/faults.rs"]
mod faults;
#[path = "sidecar/files.rs"]
mod files;
#[path = "sidecar/flood.rs"]
mod flood;
#[path = "sidecar/gateway.rs"]
mod gateway;
#[path = "sidecar/hostile_redis.rs"]
mod hostile_redis;
#[path = "sidecar/monitoring.rs"]
mod monitoring;
#[path = "sidecar/network.rs"]
mod network;
#[path = "sidecar/notices.rs"]
mod notices;
#[path = "sidecar/openapi.rs"]
mod openapi;
#[path = "sidecar/outage.rs"]
mod outage;
mod process;
#[path = "sidecar/refusals.rs"]
mod refusals;
#[path = "sidecar/renewal.rs"]
mod renewal;
#[path = "sidecar/replicas.rs"]
mod replicas;
#[path = "sidecar/rotation.rs"]
mod rotation;
#[path = "sidecar/secrets.rs"]
mod secrets;
#[path = "sidecar/server.rs"]
mod server;
#[path = "sidecar/service_manager.rs"]
mod service_manager;
#[path = "sidecar/solver.rs"]
mod solver;
#[path = "sidecar/solvers.rs"]
mod solvers;
#[path = "sidecar/sources.rs"]
mod sources;
mod support;
#[path = "sidecar/triggers.rs"]
mod triggers;
