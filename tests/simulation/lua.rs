//! The scripts that ship, run by a Lua as Redis embeds it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use mlua::{Error, Function, Lua, MultiValue, Table, Value};

use crate::database::Database;
use crate::reply::Reply;

thread_local! {
    /// Making a Lua costs more than a whole story: each thread has one.
    static HOST: Rc<Host> = Rc::new(Host::new().unwrap());
    /// The database of the script that is running.
    static OPEN: RefCell<Database> = RefCell::default();
}

/// Lua 5.1 with what Redis puts into it.
struct Host {
    lua: Lua,
    compiled: RefCell<BTreeMap<String, Function>>,
}

/// Runs a script on a database.
pub(crate) fn run(source: &str, keys: &[Vec<u8>], arguments: &[Vec<u8>], database: &mut Database) -> Reply {
    let host = HOST.with(Rc::clone);
    OPEN.with_borrow_mut(|open| std::mem::swap(open, database));
    let ran = host.run(source, keys, arguments);
    OPEN.with_borrow_mut(|open| std::mem::swap(open, database));
    ran.unwrap_or_else(|error| Reply::Error(message(&error)))
}

impl Host {
    fn new() -> mlua::Result<Self> {
        let lua = Lua::new();
        let redis = lua.create_table()?;
        let call = |lua: &Lua, words| match execute(words) {
            Reply::Error(text) => Err(Error::RuntimeError(text)),
            reply => value(lua, reply),
        };
        redis.set("call", lua.create_function(call)?)?;
        redis.set("pcall", lua.create_function(|lua, words| value(lua, execute(words)))?)?;
        redis.set("acl_check_cmd", lua.create_function(|_, _: MultiValue| Ok(true))?)?;
        redis.set(
            "error_reply",
            lua.create_function(|lua, text: mlua::LuaString| error_table(lua, &text.as_bytes()))?,
        )?;
        redis.set(
            "sha1hex",
            lua.create_function(|_, text: mlua::LuaString| {
                Ok(sha1_smol::Sha1::from(&*text.as_bytes()).digest().to_string())
            })?,
        )?;
        lua.globals().set("redis", redis)?;
        let cjson = lua.create_table()?;
        let decode = |lua: &Lua, text: mlua::LuaString| {
            decoded(lua, serde_json::from_slice(&text.as_bytes()).map_err(Error::external)?)
        };
        cjson.set("decode", lua.create_function(decode)?)?;
        lua.globals().set("cjson", cjson)?;
        Ok(Self { lua, compiled: RefCell::default() })
    }

    fn run(&self, source: &str, keys: &[Vec<u8>], arguments: &[Vec<u8>]) -> mlua::Result<Reply> {
        let compiled = self.compiled.borrow().get(source).cloned();
        let script = match compiled {
            Some(script) => script,
            None => {
                let script = self.lua.load(source).into_function()?;
                self.compiled.borrow_mut().insert(source.to_owned(), script.clone());
                script
            }
        };
        for (name, words) in [("KEYS", keys), ("ARGV", arguments)] {
            let table = self.lua.create_table_with_capacity(words.len(), 0)?;
            for (n, word) in words.iter().enumerate() {
                table.raw_set(n + 1, self.lua.create_string(word)?)?;
            }
            self.lua.globals().raw_set(name, table)?;
        }
        reply(script.call::<Value>(())?)
    }
}

/// Runs what a script gives to `redis.call` or `redis.pcall`.
fn execute(words: MultiValue) -> Reply {
    let words = words.into_iter().map(|word| match word {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Integer(number) => number.to_string().into_bytes(),
        Value::Number(number) => number.to_string().into_bytes(),
        other => panic!("a script gave Redis a {}", other.type_name()),
    });
    let words: Vec<Vec<u8>> = words.collect();
    OPEN.with_borrow_mut(|database| database.execute(&words))
}

/// A value as `cjson` has it: every number is a double.
fn decoded(lua: &Lua, json: serde_json::Value) -> mlua::Result<Value> {
    Ok(match json {
        serde_json::Value::Null => panic!("no script is given a null"),
        serde_json::Value::Bool(is) => Value::Boolean(is),
        serde_json::Value::Number(number) => Value::Number(number.as_f64().unwrap()),
        serde_json::Value::String(text) => Value::String(lua.create_string(text)?),
        serde_json::Value::Array(items) => {
            let items = items.into_iter().map(|item| decoded(lua, item)).collect::<mlua::Result<Vec<_>>>()?;
            Value::Table(lua.create_sequence_from(items)?)
        }
        serde_json::Value::Object(fields) => {
            let table = lua.create_table()?;
            for (name, field) in fields {
                table.raw_set(name, decoded(lua, field)?)?;
            }
            Value::Table(table)
        }
    })
}

fn error_table(lua: &Lua, text: &[u8]) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("err", lua.create_string(text)?)?;
    Ok(table)
}

fn value(lua: &Lua, reply: Reply) -> mlua::Result<Value> {
    Ok(match reply {
        Reply::Nil => Value::Boolean(false),
        Reply::Status(text) => {
            let table = lua.create_table()?;
            table.raw_set("ok", text)?;
            Value::Table(table)
        }
        Reply::Error(text) => Value::Table(error_table(lua, text.as_bytes())?),
        Reply::Integer(number) => Value::Number(number as f64),
        Reply::Bulk(bytes) => Value::String(lua.create_string(bytes)?),
        Reply::Array(items) | Reply::Push(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (n, item) in items.into_iter().enumerate() {
                table.raw_set(n + 1, value(lua, item)?)?;
            }
            Value::Table(table)
        }
    })
}

/// A script's answer: numbers lose their fraction, an array ends at its first nil.
fn reply(answer: Value) -> mlua::Result<Reply> {
    Ok(match answer {
        Value::Nil | Value::Boolean(false) => Reply::Nil,
        Value::Boolean(true) => Reply::Integer(1),
        Value::Integer(number) => Reply::Integer(number),
        #[expect(clippy::cast_possible_truncation, reason = "so does Redis")]
        Value::Number(number) => Reply::Integer(number as i64),
        Value::String(text) => Reply::bulk(text.as_bytes()),
        Value::Table(table) => {
            if let Some(error) = table.raw_get::<Option<mlua::LuaString>>("err")? {
                return Ok(Reply::Error(String::from_utf8_lossy(&error.as_bytes()).into_owned()));
            }
            if let Some(status) = table.raw_get::<Option<mlua::LuaString>>("ok")? {
                return Ok(Reply::Status(String::from_utf8_lossy(&status.as_bytes()).into_owned()));
            }
            let mut items = Vec::new();
            loop {
                match table.raw_get(items.len() + 1)? {
                    Value::Nil => break,
                    item => items.push(reply(item)?),
                }
            }
            Reply::Array(items)
        }
        other => panic!("a script answered a {}", other.type_name()),
    })
}

/// The error of a `redis.call` that raised; anything else is a mistake in a script.
fn message(error: &Error) -> String {
    match error {
        Error::CallbackError { cause, .. } => message(cause),
        Error::RuntimeError(text) => text.clone(),
        other => panic!("a script failed: {other}"),
    }
}
