//! A real `redis-server` for the same stories. Its clock is the story's, so that it gives the same answers as the model.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command as Program, Stdio};

use tempfile::TempDir;

use crate::database::Message;
use crate::engine::{Done, Engine, Left, Refusal};
use crate::reply::{Command, Protocol, Reply};
use crate::support::preload;

/// Runs the server until our end of the pipe closes, however this process ends.
const SHELL: &str = r#"LD_PRELOAD=$PWD/clock.so redis-server --port 0 --unixsocket redis.sock --save "" --appendonly no --enable-debug-command yes >log & server=$!
cat; kill -9 $server"#;

/// A `redis-server` whose clock the test sets.
pub(crate) struct Real {
    _folder: TempDir,
    clock: File,
    shell: Child,
    commands: Connection,
    /// Subscribed to all channels.
    subscriber: Connection,
    saved: Vec<Saved>,
}

struct Saved {
    key: Vec<u8>,
    dump: Vec<u8>,
    ends: i64,
}

impl Real {
    pub(crate) fn start(now: i64) -> Self {
        let folder = TempDir::new().unwrap();
        preload::library("simulation/clock.c", folder.path());
        let clock = File::create(folder.path().join("now")).unwrap();
        set_clock(&clock, now);
        let shell = Program::new("sh")
            .args(["-c", SHELL])
            .current_dir(folder.path())
            .env("CLOCK_FILE", folder.path().join("now"))
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh");
        let socket = folder.path().join("redis.sock");
        let mut commands = Connection::open(&socket);
        // A key ends when it is used, not at some time in between.
        commands.ask(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
        let mut subscriber = Connection::open(&socket);
        subscriber.ask(&["PSUBSCRIBE", "*"]);
        Self { _folder: folder, clock, shell, commands, subscriber, saved: Vec::new() }
    }

    fn run(&mut self, command: &Command) -> Reply {
        self.commands.send(command);
        self.commands.reply()
    }

    fn received(&mut self) -> Vec<Message> {
        self.subscriber.send(&vec![b"PING".to_vec()]);
        let mut received = Vec::new();
        loop {
            match self.subscriber.reply() {
                Reply::Array(items) => match &items[..] {
                    [Reply::Bulk(kind), ..] if kind == b"pong" => return received,
                    [Reply::Bulk(kind), _, Reply::Bulk(channel), Reply::Bulk(payload)] if kind == b"pmessage" => {
                        let channel = String::from_utf8(channel.clone()).unwrap();
                        received.push(Message { channel, payload: payload.clone() });
                    }
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
    }
}

impl Engine for Real {
    fn execute(&mut self, now: i64, _: usize, command: &Command) -> Done {
        set_clock(&self.clock, now);
        let reply = self.run(command);
        let published = self.received();
        // The network counts the receivers; here only our subscription receives it.
        let reply = if command[0] == b"PUBLISH" { Reply::Integer(0) } else { reply };
        Done { reply, published }
    }

    fn save(&mut self, now: i64) {
        set_clock(&self.clock, now);
        let Reply::Array(keys) = self.commands.ask(&["KEYS", "*"]) else { panic!("no keys") };
        self.saved = keys
            .into_iter()
            .map(|key| {
                let Reply::Bulk(key) = key else { panic!("{key:?}") };
                let Reply::Bulk(dump) = self.run(&vec![b"DUMP".to_vec(), key.clone()]) else { panic!("no dump") };
                let Reply::Integer(ends) = self.run(&vec![b"PEXPIRETIME".to_vec(), key.clone()]) else {
                    panic!("no end")
                };
                Saved { key, dump, ends }
            })
            .collect();
    }

    fn restart(&mut self, now: i64, left: Left) {
        set_clock(&self.clock, now);
        self.commands.ask(&["SCRIPT", "FLUSH"]);
        if left != Left::Everything {
            self.commands.ask(&["FLUSHALL"]);
        }
        if left == Left::LastSave {
            for saved in std::mem::take(&mut self.saved) {
                let ends = saved.ends.max(0).to_string().into_bytes();
                let restored = self.run(&vec![b"RESTORE".to_vec(), saved.key, ends, saved.dump, b"ABSTTL".to_vec()]);
                assert_eq!(restored, Reply::ok());
            }
        }
    }

    fn refuse(&mut self, refusal: Option<Refusal>) {
        let (memory, of) = match refusal {
            None => ("0", ["NO", "ONE"]),
            Some(Refusal::OutOfMemory) => ("1", ["NO", "ONE"]),
            Some(Refusal::ReadOnly) => ("0", ["127.0.0.1", "1"]),
        };
        self.commands.ask(&["CONFIG", "SET", "maxmemory", memory]);
        self.commands.ask(&["REPLICAOF", of[0], of[1]]);
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _it_was_killed = self.shell.wait();
    }
}

/// Half a millisecond more, as the model has it.
fn set_clock(clock: &File, now: i64) {
    clock.write_all_at(&(now * 1000 + 500).to_ne_bytes(), 0).unwrap();
}

struct Connection(BufReader<UnixStream>);

impl Connection {
    /// Tries until the server is there.
    fn open(socket: &Path) -> Self {
        let tries = (0..2000).find_map(|_| {
            let stream = UnixStream::connect(socket).ok();
            if stream.is_none() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            stream
        });
        Self(BufReader::new(tries.expect("redis-server does not start: is it installed?")))
    }

    fn ask(&mut self, words: &[&str]) -> Reply {
        self.send(&words.iter().map(|w| w.as_bytes().to_vec()).collect());
        self.reply()
    }

    fn send(&mut self, command: &Command) {
        let mut bytes = Vec::new();
        Reply::Array(command.iter().map(Reply::bulk).collect()).write(Protocol::Resp2, &mut bytes);
        self.0.get_mut().write_all(&bytes).unwrap();
    }

    fn reply(&mut self) -> Reply {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let (kind, text) = line.trim_end().split_at(1);
        match kind {
            "+" => Reply::Status(text.to_owned()),
            // Without the place in the script.
            "-" => Reply::Error(text.split(" script: ").next().unwrap_or(text).to_owned()),
            ":" => Reply::Integer(text.parse().unwrap()),
            "$" | "*" if text == "-1" => Reply::Nil,
            "$" => {
                let mut bytes = vec![0; text.parse::<usize>().unwrap() + 2];
                self.0.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Reply::Bulk(bytes)
            }
            "*" => Reply::Array((0..text.parse().unwrap()).map(|_: usize| self.reply()).collect()),
            other => panic!("a reply begins with {other:?}"),
        }
    }
}
