//! A model of Redis: the commands that the sidecar's scripts and clients use, on keys that end.

use std::collections::BTreeMap;

use crate::reply::Reply;

/// What a database holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Database {
    keys: BTreeMap<Vec<u8>, Entry>,
    /// The time of the server in ms.
    pub(crate) now: i64,
    /// What was published and is not delivered yet.
    pub(crate) published: Vec<Message>,
    /// Why writes are refused.
    pub(crate) refusal: Option<&'static str>,
}

/// A message on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) channel: String,
    pub(crate) payload: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    pub(crate) ends: Option<i64>,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// The entries, and the last id ever given.
    Stream(Vec<StreamEntry>, (i64, u64)),
}

/// The id, and the names and values of the fields.
type StreamEntry = ((i64, u64), Vec<Vec<u8>>);

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
/// What `maxmemory` forbids, and a read-only replica.
const WRITES: [&str; 7] = ["SET", "HSET", "HDEL", "DEL", "XADD", "XDEL", "PEXPIRE"];
/// Of these, what frees memory and is allowed without any left.
const FREEING: [&str; 4] = ["HDEL", "DEL", "XDEL", "PEXPIRE"];

impl Database {
    /// Runs one command that reads or writes keys or publishes.
    pub(crate) fn execute(&mut self, words: &[Vec<u8>]) -> Reply {
        let name = String::from_utf8_lossy(&words[0]).to_ascii_uppercase();
        if let Some(refusal) = self.refusal
            && WRITES.contains(&name.as_str())
            && !(refusal.starts_with("OOM") && FREEING.contains(&name.as_str()))
        {
            return Reply::Error(refusal.to_owned());
        }
        let now = self.now;
        // A key ends when it is used.
        self.keys.retain(|key, entry| !words.contains(key) || entry.ends.is_none_or(|ends| ends > now));
        self.run(&name, &words[1..]).unwrap_or_else(|| Reply::Error(WRONG_TYPE.to_owned()))
    }

    /// `None` where a key holds something else.
    fn run(&mut self, name: &str, args: &[Vec<u8>]) -> Option<Reply> {
        Some(match (name, args) {
            ("TIME", []) => {
                Reply::Array(vec![bulk(self.now.div_euclid(1000)), bulk(self.now.rem_euclid(1000) * 1000 + 500)])
            }
            ("TYPE", [key]) => Reply::Status(self.kind(key).to_owned()),
            ("EXISTS", [key]) => Reply::Integer(self.keys.contains_key(key).into()),
            ("GET", [key]) => self.text(key)?.map_or(Reply::Nil, Reply::bulk),
            ("STRLEN", [key]) => Reply::Integer(self.text(key)?.map_or(0, |t| integer(t.len()))),
            ("GETRANGE", [key, _, last]) => {
                let text = self.text(key)?.map(Vec::as_slice).unwrap_or_default();
                Reply::bulk(&text[..text.len().min(1 + usize::try_from(parsed(last)).unwrap())])
            }
            ("SET", [key, value, options @ ..]) => self.set(key, value, options),
            ("PTTL", [key]) => Reply::Integer(match self.keys.get(key) {
                None => -2,
                Some(Entry { ends: None, .. }) => -1,
                Some(Entry { ends: Some(ends), .. }) => ends - self.now,
            }),
            ("PEXPIRE", [key, span]) => {
                let ends = self.now + parsed(span);
                let entry = self.keys.get_mut(key);
                Reply::Integer(entry.map(|entry| entry.ends = Some(ends)).is_some().into())
            }
            ("DEL", keys) => Reply::Integer(integer(keys.iter().filter(|k| self.keys.remove(*k).is_some()).count())),
            ("HGET", [key, field]) => self.hash(key)?.and_then(|h| h.get(field)).map_or(Reply::Nil, Reply::bulk),
            ("HSTRLEN", [key, field]) => {
                Reply::Integer(integer(self.hash(key)?.and_then(|h| h.get(field)).map_or(0, Vec::len)))
            }
            ("HSET", [key, pairs @ ..]) => {
                let hash = self.hash_mut(key)?;
                let new = pairs.chunks(2).filter(|p| hash.insert(p[0].clone(), p[1].clone()).is_none()).count();
                Reply::Integer(integer(new))
            }
            ("HDEL", [key, fields @ ..]) => {
                let hash = self.hash_mut(key)?;
                let gone = fields.iter().filter(|f| hash.remove(*f).is_some()).count();
                if hash.is_empty() {
                    self.keys.remove(key);
                }
                Reply::Integer(integer(gone))
            }
            ("XADD", [key, options @ ..]) => self.add_to_stream(key, options)?,
            ("XDEL", [key, id]) => {
                let Some(Entry { value: Value::Stream(entries, _), .. }) = self.keys.get_mut(key) else {
                    return Some(Reply::Integer(0));
                };
                let before = entries.len();
                entries.retain(|((ms, n), _)| format!("{ms}-{n}").as_bytes() != id.as_slice());
                Reply::Integer(integer(before - entries.len()))
            }
            ("PUBLISH", [channel, payload]) => {
                let channel = String::from_utf8_lossy(channel).into_owned();
                self.published.push(Message { channel, payload: payload.clone() });
                Reply::Integer(0)
            }
            _ => panic!("the model has no {name} with {} arguments", args.len()),
        })
    }

    /// A Redis that restarts empty.
    pub(crate) fn flush(&mut self) {
        self.keys.clear();
    }

    /// The keys as they were at another time.
    pub(crate) fn restore(&mut self, earlier: &Self) {
        self.keys.clone_from(&earlier.keys);
    }

    fn kind(&self, key: &[u8]) -> &'static str {
        match self.value(key) {
            None => "none",
            Some(Value::Text(_)) => "string",
            Some(Value::Hash(_)) => "hash",
            Some(Value::Stream(..)) => "stream",
        }
    }

    pub(crate) fn entry(&self, key: &[u8]) -> Option<&Entry> {
        self.keys.get(key).filter(|entry| entry.ends.is_none_or(|ends| ends > self.now))
    }

    fn value(&self, key: &[u8]) -> Option<&Value> {
        self.entry(key).map(|entry| &entry.value)
    }

    fn text(&self, key: &[u8]) -> Option<Option<&Vec<u8>>> {
        match self.value(key) {
            None => Some(None),
            Some(Value::Text(text)) => Some(Some(text)),
            Some(_) => None,
        }
    }

    fn hash(&self, key: &[u8]) -> Option<Option<&BTreeMap<Vec<u8>, Vec<u8>>>> {
        match self.value(key) {
            None => Some(None),
            Some(Value::Hash(hash)) => Some(Some(hash)),
            Some(_) => None,
        }
    }

    fn hash_mut(&mut self, key: &[u8]) -> Option<&mut BTreeMap<Vec<u8>, Vec<u8>>> {
        let empty = || Entry { value: Value::Hash(BTreeMap::new()), ends: None };
        match &mut self.keys.entry(key.to_vec()).or_insert_with(empty).value {
            Value::Hash(hash) => Some(hash),
            _ => None,
        }
    }

    fn set(&mut self, key: &[u8], value: &[u8], options: &[Vec<u8>]) -> Reply {
        let (mut ends, mut options) = (None, options.iter());
        while let Some(option) = options.next() {
            match option.to_ascii_uppercase().as_slice() {
                b"NX" if self.keys.contains_key(key) => return Reply::Nil,
                b"NX" => {}
                b"PX" => ends = options.next().map(|span| self.now + parsed(span)),
                other => panic!("the model has no SET … {}", String::from_utf8_lossy(other)),
            }
        }
        self.keys.insert(key.to_vec(), Entry { value: Value::Text(value.to_vec()), ends });
        Reply::ok()
    }

    fn add_to_stream(&mut self, key: &[u8], options: &[Vec<u8>]) -> Option<Reply> {
        let (now, empty) = (self.now, || Entry { value: Value::Stream(Vec::new(), (0, 0)), ends: None });
        let Value::Stream(entries, last) = &mut self.keys.entry(key.to_vec()).or_insert_with(empty).value else {
            return None;
        };
        *last = if now > last.0 { (now, 0) } else { (last.0, last.1 + 1) };
        let fields = options.iter().skip_while(|word| *word != b"*").skip(1);
        entries.push((*last, fields.cloned().collect()));
        Some(bulk(format!("{}-{}", last.0, last.1)))
    }
}

fn bulk(text: impl std::fmt::Display) -> Reply {
    Reply::bulk(text.to_string())
}

fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap()
}

fn parsed(number: &[u8]) -> i64 {
    std::str::from_utf8(number).unwrap().parse().unwrap()
}
