//! Every command as a process: its exit code, and what it prints where.

#[path = "cli/completions.rs"]
mod completions;
#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/health.rs"]
mod health;
#[path = "cli/init.rs"]
mod init;
#[path = "cli/inspect.rs"]
mod inspect;
#[path = "cli/manual.rs"]
mod manual;
#[path = "cli/next.rs"]
mod next;
mod process;
#[path = "cli/reaching.rs"]
mod reaching;
#[path = "cli/reading.rs"]
mod reading;
#[path = "cli/refresh.rs"]
mod refresh;
#[path = "cli/run.rs"]
mod run;
#[path = "cli/settings.rs"]
mod settings;
mod support;
#[path = "cli/tls.rs"]
mod tls;
#[path = "cli/trigger.rs"]
mod trigger;
#[path = "cli/usage.rs"]
mod usage;
