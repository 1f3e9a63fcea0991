//! The worker of functions in Rust: reads the frames of proto/agent.proto on descriptor 3, calls the handler, answers each
//! exec frame with exactly one result or error frame. With one call at a time the handler runs in the main thread, with
//! more each call has a thread.
#![allow(dead_code)]

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[path = "json.rs"]
mod json;
pub use json::Value;
#[path = "asks.rs"]
mod asks;
pub use asks::{Entry, Keys, Message, MessageWait, Put, State, Steps};

const HELLO: u8 = 1;
const INIT: u8 = 2;
const READY: u8 = 3;
const EXEC: u8 = 4;
const RESULT: u8 = 5;
const ERROR: u8 = 6;
const CHUNK: u8 = 7;
const LOG: u8 = 8;
const CANCEL: u8 = 9;
const PING: u8 = 10;
const PONG: u8 = 11;
const STOP: u8 = 12;
const ASK: u8 = 13;
const REPLY: u8 = 14;
const HEADER_BYTES: usize = 12;
const HEAD_BYTES: usize = 48;
const MAX_BODY_BYTES: usize = 6 << 20; // of an event and of an output; the platform's limit for a synchronous call
const CHUNK_BYTES: usize = 1 << 20;
const MAX_MESSAGE_BYTES: usize = 8 << 10;
const MAX_STACK_BYTES: usize = 32 << 10;
const STREAM: u32 = 1;
const LOG_STDERR: u8 = 1;
const LOG_CUT: u8 = 2;

// ---- what handlers get and give

pub struct Trace {
    pub trace_id: String,
    pub span_id: String,
    pub traceparent: String,
}

/// What a handler may know of its call.
pub struct Context {
    pub request_id: String,
    pub function_name: String,
    pub function_version: String,
    pub tenant: String,
    pub namespace: String,
    pub memory_limit_mb: u64,
    pub deadline: SystemTime,
    pub trace: Trace,
    pub logger: Logger,
    call_id: u32,
    until: Instant,
}

impl Context {
    /// How long the caller still waits.
    pub fn remaining_ms(&self) -> u64 {
        self.until.saturating_duration_since(Instant::now()).as_millis() as u64
    }
}

/// Writes lines of the call's own log.
pub struct Logger {
    call_id: u32,
    left: Mutex<Option<usize>>,
}

impl Logger {
    pub fn debug(&self, text: impl AsRef<str>) {
        self.line("DEBUG", text.as_ref());
    }
    pub fn info(&self, text: impl AsRef<str>) {
        self.line("INFO", text.as_ref());
    }
    pub fn warn(&self, text: impl AsRef<str>) {
        self.line("WARN", text.as_ref());
    }
    pub fn error(&self, text: impl AsRef<str>) {
        self.line("ERROR", text.as_ref());
    }

    fn line(&self, level: &str, text: &str) {
        let line = format!("{level} {text}\n");
        let Ok(mut left) = self.left.lock() else { return };
        let Some(room) = *left else { return };
        if line.len() <= room {
            *left = Some(room - line.len());
            send(LOG, LOG_STDERR, self.call_id, line.as_bytes());
        } else {
            *left = None;
            send(LOG, LOG_STDERR | LOG_CUT, self.call_id, cut(&line, room).as_bytes());
        }
    }
}

/// An error of a handler: any `std::error::Error` becomes one with `?`.
pub struct Error {
    code: String, // what the platform says is wrong: "not_found", "version_conflict", …; empty: it is the function's own
    kind: String,
    message: String,
    stack: String,
}

impl Error {
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Error {
        let stack = own_frames(&Backtrace::force_capture().to_string());
        Error { code: String::new(), kind: kind.into(), message: message.into(), stack }
    }

    fn told(code: &str, kind: &str, message: &str, stack: &str) -> Error {
        Error { code: code.into(), kind: kind.into(), message: message.into(), stack: stack.into() }
    }

    /// Stable, for what the platform refuses; "function_error" and "step_failed" for what others raised.
    pub fn code(&self) -> &str {
        &self.code
    }

    pub fn kind(&self) -> &str {
        &self.kind
    }

    pub fn message(&self) -> &str {
        &self.message
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Error {
        let mut stack = own_frames(&Backtrace::force_capture().to_string());
        let mut cause = error.source();
        while let Some(found) = cause {
            stack.push_str(&format!("\nCaused by: {found}"));
            cause = found.source();
        }
        Error { code: String::new(), kind: std::any::type_name::<E>().to_string(), message: error.to_string(), stack }
    }
}

/// An answer that is JSON already.
pub struct Json(pub String);

/// An answer in pieces, each sent as soon as there is one. Where the caller wants no stream they are the texts of a list.
pub struct Stream(Box<dyn Iterator<Item = Result<Vec<u8>, Error>>>);

impl Stream {
    pub fn new<P: Into<Vec<u8>>>(pieces: impl IntoIterator<Item = P> + 'static) -> Stream {
        Stream(Box::new(pieces.into_iter().map(|piece| Ok(piece.into()))))
    }

    pub fn fallible<P: Into<Vec<u8>>, E: Into<Error>>(pieces: impl IntoIterator<Item = Result<P, E>> + 'static) -> Stream {
        Stream(Box::new(pieces.into_iter().map(|piece| piece.map(Into::into).map_err(Into::into))))
    }
}

pub enum Answer {
    Whole(String), // JSON
    Text(String),  // a text that is not JSON yet; streamed as it is
    Pieces(Stream),
}

pub trait IntoAnswer {
    fn into_answer(self) -> Result<Answer, Error>;
}

impl<V: Into<Value>> IntoAnswer for V {
    fn into_answer(self) -> Result<Answer, Error> {
        let mut out = String::new();
        let value = self.into();
        if let Value::Text(text) = value {
            return Ok(Answer::Text(text));
        }
        value.write(&mut out).map_err(|reason| Error::new("ValueError", reason))?;
        Ok(Answer::Whole(out))
    }
}

impl IntoAnswer for Json {
    fn into_answer(self) -> Result<Answer, Error> {
        Ok(Answer::Whole(self.0))
    }
}

impl IntoAnswer for Stream {
    fn into_answer(self) -> Result<Answer, Error> {
        Ok(Answer::Pieces(self))
    }
}

/// What a handler may take its event as: a `Value`, or the JSON itself as a `String`.
pub trait FromEvent: Sized {
    fn from_event(text: String) -> Result<Self, Error>;
}

impl FromEvent for Value {
    fn from_event(text: String) -> Result<Value, Error> {
        Value::parse(&text).map_err(|reason| Error::new("ValueError", reason))
    }
}

impl FromEvent for String {
    fn from_event(text: String) -> Result<String, Error> {
        Ok(text)
    }
}

// ---- frames

static SENDING: Mutex<()> = Mutex::new(());
static IN_HAND: AtomicUsize = AtomicUsize::new(0);

fn channel() -> std::mem::ManuallyDrop<File> {
    // SAFETY: descriptor 3 is the channel for the life of this process; nothing here closes it.
    std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(3) })
}

fn send(kind: u8, flags: u8, call_id: u32, body: &[u8]) {
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(&[kind, flags, 0, 0]);
    frame.extend_from_slice(&call_id.to_be_bytes());
    frame.extend_from_slice(body);
    let _alone = SENDING.lock();
    if channel().write_all(&frame).is_err() {
        std::process::exit(1); // nobody is left to talk to
    }
}

#[repr(C)]
struct PollFd {
    fd: i32,
    wanted: i16,
    result: i16,
}

extern "C" {
    fn poll(fds: *mut PollFd, count: std::ffi::c_ulong, timeout_ms: i32) -> i32;
}

/// Sleeps until there is something to read. Who sleeps in read() of a unix socket is also woken when the host has taken
/// what was written; in poll() for what it asks for only.
fn await_news() {
    const POLLIN: i16 = 1;
    let mut news = PollFd { fd: 3, wanted: POLLIN, result: 0 };
    // SAFETY: one structure as the C library lays it out, alive for the call.
    unsafe { poll(&mut news, 1, -1) };
}

struct Incoming {
    held: Vec<u8>,
    from: usize,
    to: usize,
}

impl Incoming {
    fn new() -> Incoming {
        Incoming { held: vec![0; 64 << 10], from: 0, to: 0 }
    }

    fn read(&mut self, mut out: &mut [u8]) {
        while !out.is_empty() {
            if self.from == self.to {
                if out.len() >= self.held.len() {
                    if channel().read_exact(out).is_err() {
                        std::process::exit(1);
                    }
                    return;
                }
                await_news();
                match channel().read(&mut self.held) {
                    Ok(0) => std::process::exit(0), // the host is gone
                    Ok(count) => (self.from, self.to) = (0, count),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(_) => std::process::exit(1),
                }
            }
            let taken = out.len().min(self.to - self.from);
            out[..taken].copy_from_slice(&self.held[self.from..self.from + taken]);
            self.from += taken;
            out = &mut out[taken..];
        }
    }

    fn frame(&mut self) -> (u8, u32, Vec<u8>) {
        let mut head = [0; HEADER_BYTES];
        self.read(&mut head);
        let len = number(&head[..4]) as usize;
        if len > MAX_BODY_BYTES + HEAD_BYTES {
            std::process::exit(1);
        }
        let mut body = vec![0; len];
        self.read(&mut body);
        (head[4], number(&head[8..12]), body)
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

// ---- control messages: as much of protobuf as Hello, Init and Ready need

fn varint(data: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = data.split_first() else { break };
        *data = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
    }
    value
}

fn each_field(mut data: &[u8], mut take: impl FnMut(u64, u64, &[u8])) {
    while !data.is_empty() {
        let tag = varint(&mut data);
        let value = varint(&mut data);
        let len = if tag & 7 == 2 { (value as usize).min(data.len()) } else { 0 };
        let (text, rest) = data.split_at(len);
        data = rest;
        take(tag >> 3, value, text);
    }
}

fn text_field(out: &mut Vec<u8>, number: u8, text: &str) {
    out.extend_from_slice(&[number << 3 | 2, text.len() as u8]);
    out.extend_from_slice(text.as_bytes());
}

#[derive(Clone)]
struct Init {
    name: String,
    version: String,
    tenant: String,
    namespace: String,
    memory_limit_mb: u64,
    concurrency: u64,
    log_limit: usize,
}

fn read_init(body: &[u8]) -> Init {
    let mut out = Init {
        name: String::new(),
        version: String::new(),
        tenant: String::new(),
        namespace: String::new(),
        memory_limit_mb: 0,
        concurrency: 1,
        log_limit: 64 << 10,
    };
    each_field(body, |key, value, raw| {
        let text = || String::from_utf8_lossy(raw).into_owned();
        match key {
            2 => out.name = text(),
            3 => out.version = text(),
            4 => out.tenant = text(),
            5 => out.namespace = text(),
            6 => out.memory_limit_mb = value,
            7 => out.concurrency = value,
            8 => {
                let mut pair = [String::new(), String::new()];
                each_field(raw, |key, _, raw| pair[usize::from(key != 1)] = String::from_utf8_lossy(raw).into_owned());
                #[allow(unused_unsafe)]
                // SAFETY: no other thread runs yet.
                unsafe {
                    std::env::set_var(&pair[0], &pair[1])
                };
            }
            10 => out.log_limit = value as usize,
            _ => {}
        }
    });
    out
}

// ---- calls

thread_local! {
    static PANIC_STACK: RefCell<String> = const { RefCell::new(String::new()) };
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Of a stack what is the function's: from its first frame on until the worker's.
fn own_frames(stack: &str) -> String {
    let mut own = Vec::new();
    let mut is_own = false;
    for line in stack.lines() {
        let is_name = line.trim_start().split(':').next().is_some_and(|number| number.parse::<u32>().is_ok());
        if is_name {
            let is_ours = line.contains("constellation::") || line.contains("std::") || line.contains("core::");
            if is_own && line.contains("constellation::") {
                break;
            }
            is_own = is_own || !is_ours && !line.contains("rust_begin_unwind") && !line.contains("__rustc");
        }
        if is_own {
            own.push(line);
        }
    }
    own.join("\n")
}

fn encode_error(error: &Error) -> Vec<u8> {
    let mut out = String::from("{\"type\":");
    json::quote(&error.kind, &mut out);
    out.push_str(",\"message\":");
    json::quote(cut(&error.message, MAX_MESSAGE_BYTES), &mut out);
    out.push_str(",\"stack\":");
    json::quote(cut(&error.stack, MAX_STACK_BYTES), &mut out);
    out.push('}');
    out.into_bytes()
}

fn send_chunk(call_id: u32, piece: &[u8]) {
    for part in piece.chunks(CHUNK_BYTES) {
        send(CHUNK, 0, call_id, part);
    }
}

fn answer(call_id: u32, answer: Answer, is_stream: bool) -> Result<Vec<u8>, Error> {
    let output = match answer {
        Answer::Whole(text) if !is_stream => text,
        Answer::Text(text) if !is_stream => {
            let mut quoted = String::with_capacity(text.len() + 2);
            json::quote(&text, &mut quoted);
            quoted
        }
        Answer::Whole(text) | Answer::Text(text) => {
            send_chunk(call_id, text.as_bytes());
            String::new()
        }
        Answer::Pieces(pieces) if is_stream => {
            for piece in pieces.0 {
                send_chunk(call_id, &piece?);
            }
            String::new()
        }
        Answer::Pieces(pieces) => {
            let mut listed = String::from("[");
            for piece in pieces.0 {
                if listed.len() > 1 {
                    listed.push(',');
                }
                json::quote(&String::from_utf8_lossy(&piece?), &mut listed);
            }
            listed + "]"
        }
    };
    if output.len() > MAX_BODY_BYTES {
        let message = format!("the output has {} bytes; at most {MAX_BODY_BYTES} are carried", output.len());
        return Err(Error::told("", "OutputTooLarge", &message, ""));
    }
    Ok(output.into_bytes())
}

fn execute<T: FromEvent, R: IntoAnswer, E: Into<Error>>(
    init: &Init,
    call_id: u32,
    body: &[u8],
    handler: fn(T, &Context) -> Result<R, E>,
) {
    if body.len() < HEAD_BYTES {
        std::process::exit(1);
    }
    let (head, event) = body.split_at(HEAD_BYTES);
    let remaining = Duration::from_millis(number(&head[40..44]).into());
    let id = hex(&head[..16]);
    let (trace_id, span_id) = (hex(&head[16..32]), hex(&head[32..40]));
    let context = Context {
        request_id: format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]),
        function_name: init.name.clone(),
        function_version: init.version.clone(),
        tenant: init.tenant.clone(),
        namespace: init.namespace.clone(),
        memory_limit_mb: init.memory_limit_mb,
        deadline: SystemTime::now().checked_add(remaining).unwrap_or(UNIX_EPOCH),
        trace: Trace { traceparent: format!("00-{trace_id}-{span_id}-01"), trace_id, span_id },
        logger: Logger { call_id, left: Mutex::new(Some(init.log_limit)) },
        call_id,
        until: Instant::now() + remaining,
    };
    asks::begin(call_id);
    let is_stream = number(&head[44..48]) & STREAM != 0;
    let event = if event.is_empty() { "null".to_string() } else { String::from_utf8_lossy(event).into_owned() };
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let value = handler(T::from_event(event)?, &context).map_err(Into::into)?;
        answer(call_id, value.into_answer()?, is_stream)
    }));
    let outcome = ended.unwrap_or_else(|raised| {
        let message = raised.downcast_ref::<&str>().map(|text| text.to_string());
        let message = message.or_else(|| raised.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Error::told("", "panic", &message, &PANIC_STACK.with(|stack| stack.take())))
    });
    asks::settle();
    let _ = std::io::stdout().flush();
    match outcome {
        Ok(output) => send(RESULT, 0, call_id, &output),
        Err(error) => send(ERROR, 0, call_id, &encode_error(&error)),
    }
}

/// Serves a handler for the rest of this process's life.
pub fn run<T, R, E>(handler: fn(T, &Context) -> Result<R, E>)
where
    T: FromEvent + 'static,
    R: IntoAnswer + 'static,
    E: Into<Error> + 'static,
{
    std::panic::set_hook(Box::new(|_| {
        let stack = own_frames(&Backtrace::force_capture().to_string());
        PANIC_STACK.with(|kept| *kept.borrow_mut() = stack);
    }));
    let mut hello = vec![8, 1];
    text_field(&mut hello, 2, "rust");
    send(HELLO, 0, 0, &hello);
    let mut init = read_init(&[]);
    loop {
        let (kind, call_id, body) = asks::next_frame();
        match kind {
            EXEC if init.concurrency <= 1 => {
                execute(&init, call_id, &body, handler);
                if asks::IS_STOPPED.load(Ordering::SeqCst) {
                    std::process::exit(0);
                }
            }
            EXEC => {
                IN_HAND.fetch_add(1, Ordering::SeqCst);
                let init = init.clone();
                let work = move || {
                    execute(&init, call_id, &body, handler);
                    IN_HAND.fetch_sub(1, Ordering::SeqCst);
                };
                if let Err(error) = std::thread::Builder::new().spawn(work) {
                    let error = Error::new("ThreadError", format!("no thread can be started within this function's limits: {error}"));
                    send(ERROR, 0, call_id, &encode_error(&error));
                    IN_HAND.fetch_sub(1, Ordering::SeqCst);
                }
            }
            INIT => {
                init = read_init(&body);
                asks::IS_ALONE.store(init.concurrency <= 1, Ordering::Relaxed);
                send(READY, 0, 0, &[8, 1]);
            }
            REPLY => asks::replied(body),
            PING => send(PONG, 0, call_id, &body),
            CANCEL => {}
            STOP => {
                while IN_HAND.load(Ordering::SeqCst) > 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                std::process::exit(0);
            }
            _ => std::process::exit(1),
        }
    }
}
