//! The interface of a Redis that executes commands, and the model, which is fast enough for 100,000 stories.

use std::collections::BTreeMap;

use crate::database::{Database, Message};
use crate::lua;
use crate::mutation::Mutation;
use crate::reply::{Command, Reply};

#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) reply: Reply,
    pub(crate) published: Vec<Message>,
}

/// The data that a Redis has after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    Everything,
    Nothing,
    /// That of its last save.
    LastSave,
}

/// A Redis without its connections.
pub(crate) trait Engine: Send {
    /// Runs a command at a time in ms, for one process.
    fn execute(&mut self, now: i64, process: usize, command: &Command) -> Done;

    /// Saves the data.
    fn save(&mut self, now: i64);

    /// Restarts.
    fn restart(&mut self, now: i64, left: Left);

    /// Refuses writes, or accepts them again.
    fn refuse(&mut self, refusal: Option<Refusal>);
}

/// Why Redis refuses writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    OutOfMemory,
    ReadOnly,
}

/// The model.
pub(crate) struct Model {
    pub(crate) database: Database,
    saved: Database,
    /// By digest, as `EVALSHA` names them.
    scripts: BTreeMap<String, String>,
    mutation: Option<Mutation>,
}

impl Model {
    pub(crate) fn new(mutation: Option<Mutation>) -> Self {
        Self { database: Database::default(), saved: Database::default(), scripts: BTreeMap::new(), mutation }
    }

    fn run(&mut self, process: usize, command: &Command) -> Reply {
        let text = |n: usize| String::from_utf8_lossy(&command[n]).into_owned();
        match text(0).as_str() {
            verb @ ("EVAL" | "EVALSHA") => {
                let sha =
                    if verb == "EVAL" { sha1_smol::Sha1::from(&command[1]).digest().to_string() } else { text(1) };
                if verb == "EVAL" {
                    self.scripts.insert(sha.clone(), text(1));
                }
                let Some(source) = self.scripts.get(&sha) else {
                    return Reply::Error("NOSCRIPT No matching script. Please use EVAL.".to_owned());
                };
                let (keys, arguments) = command[3..].split_at(text(2).parse().unwrap());
                match self.mutation {
                    None => lua::run(source, keys, arguments, &mut self.database),
                    Some(mutation) => lua::run(&mutation.applied(source, process), keys, arguments, &mut self.database),
                }
            }
            _ => self.database.execute(command),
        }
    }
}

impl Engine for Model {
    fn execute(&mut self, now: i64, process: usize, command: &Command) -> Done {
        self.database.now = now;
        let reply = self.run(process, command);
        Done { reply, published: std::mem::take(&mut self.database.published) }
    }

    fn save(&mut self, _: i64) {
        self.saved = self.database.clone();
    }

    fn restart(&mut self, _: i64, left: Left) {
        self.scripts.clear();
        match left {
            Left::Everything => {}
            Left::Nothing => self.database.flush(),
            Left::LastSave => self.database.restore(&self.saved),
        }
    }

    fn refuse(&mut self, refusal: Option<Refusal>) {
        self.database.refusal = refusal.map(|refusal| match refusal {
            Refusal::OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.",
            Refusal::ReadOnly => "READONLY You can't write against a read only replica.",
        });
    }
}
