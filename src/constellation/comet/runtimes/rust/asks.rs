//! What a handler asks of the platform: `context.state()`, `context.invoke()`, `context.steps()`. Each ask is answered once.
//! Where calls come one at a time, the thread that asks reads the channel itself until its reply is there; with more, the
//! main thread reads for all.

use super::{each_field, encode_error, send, Context, Error, Incoming, Value, ASK, PING, PONG, REPLY, STOP};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{channel, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const GET: u64 = 1;
const PUT: u64 = 2;
const DELETE: u64 = 3;
const LIST: u64 = 4;
const INVOKE: u64 = 5;
const INVOKE_ASYNC: u64 = 6;
const STEP: u64 = 7;
const STEP_DONE: u64 = 8;
const SLEEP: u64 = 9;
const WAIT: u64 = 10;
const PUBLISH: u64 = 11;
const WAIT_MESSAGE: u64 = 12;

const NAME: u64 = 3;
const KEY: u64 = 4;
const VALUE: u64 = 5;
const IF_VERSION: u64 = 6;
const TTL_MS: u64 = 7;
const FOR_MS: u64 = 8;
const LIMIT: u64 = 9;
const AFTER: u64 = 10;
const SEQ: u64 = 11;
const FAILURE: u64 = 12;

/// Who reads the channel.
pub(super) static READING: Mutex<Option<Incoming>> = Mutex::new(None);
pub(super) static IS_ALONE: AtomicBool = AtomicBool::new(true);
pub(super) static IS_STOPPED: AtomicBool = AtomicBool::new(false); // told so while somebody asked
static CURRENT: AtomicU32 = AtomicU32::new(0); // the call in hand when calls come one at a time
static IS_USED: AtomicBool = AtomicBool::new(false);
static TURN: Mutex<u32> = Mutex::new(0); // the last id
static WAITING: Mutex<Option<HashMap<u32, Sender<Vec<u8>>>>> = Mutex::new(None);

/// What is panicked with: the execution waits, and this run of it ends here.
pub(super) struct Suspended;

/// A handler may have panicked while it held it: nothing of it is half done.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn next_frame() -> (u8, u32, Vec<u8>) {
    held(&READING).get_or_insert_with(Incoming::new).frame()
}

pub(super) fn begin(call_id: u32) {
    CURRENT.store(call_id, Ordering::SeqCst);
}

/// Before a call is answered: waits for what threads of it still ask, so that one thread reads the channel again.
pub(super) fn settle() {
    CURRENT.store(0, Ordering::SeqCst); // first: who asks from now on is refused, or is seen to have asked
    if IS_ALONE.load(Ordering::Relaxed) && IS_USED.load(Ordering::SeqCst) {
        let _none_asks = held(&TURN);
        IS_USED.store(false, Ordering::SeqCst);
    }
}

/// Hands a reply to the thread that waits for it.
pub(super) fn replied(body: Vec<u8>) {
    let waiting = held(&WAITING).as_mut().and_then(|all| all.remove(&id_of(&body)));
    if let Some(waiting) = waiting {
        let _ = waiting.send(body);
    }
}

fn id_of(body: &[u8]) -> u32 {
    let mut id = 0;
    each_field(body, |number, value, _| {
        if number == 1 {
            id = value as u32;
        }
    });
    id
}

/// The fields of an Ask (proto/agent.proto), as they are put together.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 & 0x7f | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(mut self, number: u64, value: u64) -> Fields {
        self.varint(number << 3);
        self.varint(value);
        self
    }

    fn bytes(mut self, number: u64, value: &[u8]) -> Fields {
        self.varint(number << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn text(self, number: u64, value: &str) -> Fields {
        self.bytes(number, value.as_bytes())
    }

    fn json(self, number: u64, value: &Value) -> Result<Fields, Error> {
        let mut out = String::new();
        value.write(&mut out).map_err(|reason| Error::new("ValueError", reason))?;
        Ok(self.text(number, &out))
    }
}

fn milliseconds(time: Duration) -> u64 {
    (time.as_millis() as u64).max(1)
}

fn ask(call_id: u32, op: u64, fields: Fields) -> Result<Value, Error> {
    let is_alone = IS_ALONE.load(Ordering::Relaxed);
    let mut turn = held(&TURN);
    IS_USED.store(true, Ordering::SeqCst);
    if is_alone && CURRENT.load(Ordering::SeqCst) != call_id {
        return Err(Error::told("call_ended", "CallEnded", "the call in which this was asked has ended", ""));
    }
    *turn = turn.wrapping_add(1).max(1);
    let id = *turn;
    let mut body = Fields::default().number(1, id.into()).number(2, op).0;
    body.extend_from_slice(&fields.0);
    if is_alone {
        send(ASK, 0, call_id, &body);
        let reply = await_reply(id);
        drop(turn);
        return answer_of(&reply);
    }
    let (replier, reply) = channel();
    held(&WAITING).get_or_insert_with(HashMap::new).insert(id, replier);
    drop(turn);
    send(ASK, 0, call_id, &body);
    match reply.recv() {
        Ok(body) => answer_of(&body),
        Err(_) => std::process::exit(1),
    }
}

fn await_reply(id: u32) -> Vec<u8> {
    loop {
        let (kind, call_id, body) = next_frame();
        match kind {
            REPLY if id_of(&body) == id => return body,
            PING => send(PONG, 0, call_id, &body),
            STOP => IS_STOPPED.store(true, Ordering::SeqCst),
            _ => {}
        }
    }
}

fn answer_of(body: &[u8]) -> Result<Value, Error> {
    let (mut value, mut failure) = (None, None);
    each_field(body, |number, _, text| match number {
        2 => value = Some(String::from_utf8_lossy(text).into_owned()),
        3 => failure = Some(String::from_utf8_lossy(text).into_owned()),
        _ => {}
    });
    let read = |text: &str| Value::parse(text).map_err(|reason| Error::new("ValueError", reason));
    let Some(failure) = failure else { return read(&value.unwrap_or_default()) };
    let facts = read(&failure)?;
    let text = |name: &str| facts.get(name).as_str().unwrap_or_default().to_string();
    if text("code") == "suspended" {
        std::panic::resume_unwind(Box::new(Suspended));
    }
    Err(Error::told(&text("code"), &text("type"), &text("message"), &text("stack")))
}

impl Context {
    /// Values kept between calls.
    pub fn state(&self) -> State {
        State { call_id: self.call_id, name: String::new() }
    }

    /// What a durable execution does once.
    pub fn steps(&self) -> Steps {
        Steps { call_id: self.call_id }
    }

    /// Calls a function of the same namespace; an error with the code "function_error" when it raised.
    pub fn invoke(&self, name: &str, payload: impl Into<Value>) -> Result<Value, Error> {
        let fields = Fields::default().text(NAME, name).json(VALUE, &payload.into())?;
        Ok(ask(self.call_id, INVOKE, fields)?.get("output").clone())
    }

    /// Has a function called later, durably; returns the id of the job.
    pub fn invoke_async(&self, name: &str, payload: impl Into<Value>) -> Result<String, Error> {
        let fields = Fields::default().text(NAME, name).json(VALUE, &payload.into())?;
        Ok(ask(self.call_id, INVOKE_ASYNC, fields)?.get("id").as_str().unwrap_or_default().to_string())
    }

    /// Publishes a message to a topic of the same namespace; returns its id once it is committed. Codes of errors:
    /// "topic_not_found", "payload_too_large" above 256 KiB, "message_loop".
    pub fn publish(&self, topic: &str, payload: impl Into<Value>) -> Result<String, Error> {
        self.publish_with(topic, payload, Message::default())
    }

    pub fn publish_with(&self, topic: &str, payload: impl Into<Value>, message: Message) -> Result<String, Error> {
        let attributes = message.attributes.into_iter().map(|(name, text)| (name, text.into())).collect();
        let mut members = BTreeMap::from([
            ("payload".to_string(), payload.into()),
            ("key".to_string(), message.key.into()),
            ("attributes".to_string(), Value::Object(attributes)),
        ]);
        if let Some(key) = message.idempotency_key {
            members.insert("idempotency_key".to_string(), key.into());
        }
        let fields = Fields::default().text(NAME, topic).json(VALUE, &Value::Object(members))?;
        Ok(ask(self.call_id, PUBLISH, fields)?.get("id").as_str().unwrap_or_default().to_string())
    }
}

/// What goes with the payload of a message: what it is about, texts that filters of subscriptions look at, and a key that
/// makes repetitions one message.
#[derive(Default)]
pub struct Message {
    pub key: String,
    pub attributes: BTreeMap<String, String>,
    pub idempotency_key: Option<String>,
}

/// Which message of a topic is waited for, and how long. The filter has attributes, each with the text that it has, an object
/// {"prefix": ...} or a list of these.
#[derive(Default)]
pub struct MessageWait {
    pub key: Option<String>,
    pub filter: BTreeMap<String, Value>,
    pub timeout: Option<Duration>,
}

/// Values under keys, kept between calls: the function's own, or those of a `store`, which its namespace shares.
pub struct State {
    call_id: u32,
    name: String,
}

/// A value as it is kept.
pub struct Entry {
    pub value: Value,
    pub version: i64,
    pub expires_at: Option<String>, // RFC 3339
}

/// A page of a list; `next` is the `after` of the next page.
pub struct Keys {
    pub items: Vec<String>,
    pub next: Option<String>,
}

/// What a value is kept under: only if the key has a version (0: is not there), and for how long.
#[derive(Default)]
pub struct Put {
    pub if_version: Option<i64>,
    pub ttl: Option<Duration>,
}

impl State {
    pub fn store(&self, name: &str) -> State {
        State { call_id: self.call_id, name: name.to_string() }
    }

    pub fn get(&self, key: &str) -> Result<Option<Value>, Error> {
        Ok(self.entry(key)?.map(|entry| entry.value))
    }

    pub fn entry(&self, key: &str) -> Result<Option<Entry>, Error> {
        let found = ask(self.call_id, GET, self.fields(key))?;
        Ok(found.get("version").as_i64().map(|version| Entry {
            value: found.get("value").clone(),
            version,
            expires_at: found.get("expires_at").as_str().map(str::to_string),
        }))
    }

    /// Keeps a value; returns its version.
    pub fn put(&self, key: &str, value: impl Into<Value>) -> Result<i64, Error> {
        self.put_with(key, value, Put::default())
    }

    pub fn put_with(&self, key: &str, value: impl Into<Value>, how: Put) -> Result<i64, Error> {
        let mut fields = self.fields(key).json(VALUE, &value.into())?;
        if let Some(version) = how.if_version {
            fields = fields.number(IF_VERSION, version as u64);
        }
        if let Some(ttl) = how.ttl {
            fields = fields.number(TTL_MS, milliseconds(ttl));
        }
        Ok(ask(self.call_id, PUT, fields)?.get("version").as_i64().unwrap_or_default())
    }

    /// Deletes a key, if it has a version; false when it was not there.
    pub fn delete(&self, key: &str, if_version: Option<i64>) -> Result<bool, Error> {
        let fields = self.fields(key);
        let fields = if_version.map_or(fields.0.clone(), |version| fields.number(IF_VERSION, version as u64).0);
        Ok(ask(self.call_id, DELETE, Fields(fields))?.get("deleted").as_bool().unwrap_or_default())
    }

    /// Keys that begin with a prefix, in byte order, behind a key.
    pub fn list(&self, prefix: &str, limit: u32, after: Option<&str>) -> Result<Keys, Error> {
        let fields = self.fields(prefix).number(LIMIT, limit.into()).text(AFTER, after.unwrap_or_default());
        let found = ask(self.call_id, LIST, fields)?;
        let items = found.get("items").as_list().unwrap_or_default();
        Ok(Keys {
            items: items.iter().filter_map(|item| item.get("key").as_str().map(str::to_string)).collect(),
            next: found.get("next").as_str().map(str::to_string),
        })
    }

    fn fields(&self, key: &str) -> Fields {
        Fields::default().text(NAME, &self.name).text(KEY, key)
    }
}

/// What a durable execution does once, whatever happens to it: steps are taken one after the other.
pub struct Steps {
    call_id: u32,
}

impl Steps {
    /// What `work` returned when it ran first; an error with the code "step_failed" when it failed.
    pub fn run<V: Into<Value>, E: Into<Error>>(&self, name: &str, work: impl FnOnce() -> Result<V, E>) -> Result<Value, Error> {
        let begun = ask(self.call_id, STEP, Fields::default().text(NAME, name))?;
        let Some(seq) = begun.get("seq").as_i64() else { return Ok(begun.get("output").clone()) };
        let done = Fields::default().number(SEQ, seq as u64);
        match work() {
            Ok(value) => {
                let value = value.into();
                ask(self.call_id, STEP_DONE, done.json(VALUE, &value)?)?;
                Ok(value)
            }
            Err(error) => {
                let error = error.into();
                ask(self.call_id, STEP_DONE, done.bytes(FAILURE, &encode_error(&error)))?;
                Err(Error { code: "step_failed".to_string(), ..error })
            }
        }
    }

    /// Waits up to a year; nothing of the execution runs meanwhile.
    pub fn sleep(&self, time: Duration) -> Result<(), Error> {
        ask(self.call_id, SLEEP, Fields::default().text(NAME, "sleep").number(FOR_MS, time.as_millis() as u64)).map(|_| ())
    }

    /// The payload of the next event of a name; an error with the code "timeout" when none came in time.
    pub fn wait_for_event(&self, name: &str, timeout: Option<Duration>) -> Result<Value, Error> {
        let fields = Fields::default().text(NAME, name).number(FOR_MS, timeout.map_or(0, milliseconds));
        Ok(ask(self.call_id, WAIT, fields)?.get("payload").clone())
    }

    /// The next message of a topic as a function that subscribes to it gets it; its "data" is the payload. Messages count
    /// from the step before on; an error with the code "timeout" when none came in time.
    pub fn wait_for_message(&self, topic: &str, wait: MessageWait) -> Result<Value, Error> {
        let mut fields = Fields::default().text(NAME, topic);
        if let Some(key) = wait.key {
            fields = fields.text(KEY, &key);
        }
        if !wait.filter.is_empty() {
            fields = fields.json(VALUE, &Value::Object(wait.filter))?;
        }
        let fields = fields.number(FOR_MS, wait.timeout.map_or(0, milliseconds));
        Ok(ask(self.call_id, WAIT_MESSAGE, fields)?.get("message").clone())
    }
}
