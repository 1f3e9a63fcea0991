'use strict';
// What the workers of Node.js, Deno and Bun have in common: it reads the frames of proto/agent.proto, calls the handler,
// answers each exec frame with exactly one result or error frame. Calls share the one event loop; AsyncLocalStorage tells
// whose a line of log is.

const { AsyncLocalStorage } = require('node:async_hooks');
const { Console } = require('node:console');
const { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } = require('node:fs');
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { pathToFileURL } = require('node:url');
const { inspect } = require('node:util');

const [HELLO, INIT, READY, EXEC, RESULT, ERROR, CHUNK, LOG, CANCEL, PING, PONG, STOP, ASK, REPLY] =
  Array.from({ length: 14 }, (_, i) => i + 1);
const LOG_STDERR = 1;
const LOG_CUT = 2;
const PROTOCOL = 1;
const HEADER_BYTES = 12;
const EXEC_HEAD_BYTES = 48;
const EXEC_STREAM = 1;
const MAX_BODY_BYTES = 6 << 20; // of an event and of an output; the platform's limit for a synchronous call
const MAX_MESSAGE_CHARS = 8 << 10;
const MAX_STACK_CHARS = 32 << 10;
const CHUNK_BYTES = 1 << 20;
const LINE_CHARS = 4 << 10; // a longer line is sent in pieces

const OUR_DIR = path.dirname(__dirname) + path.sep;

let channel = null; // write(buffer): is there room for more; drained(): a promise of it; end(callback)
let endings = []; // of the files that a handler may be in, the likeliest first
let takesConsole = false; // console does not print by process.stdout
const calls = new AsyncLocalStorage();
let init = null;
let handler = null;
let inHand = 0;
let stopping = false;

// --- frames

function send(kind, callId, body = Buffer.alloc(0), flags = 0) {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + body.length);
  frame.writeUInt32BE(body.length, 0);
  frame[4] = kind;
  frame[5] = flags;
  frame.writeUInt16BE(0, 6);
  frame.writeUInt32BE(callId, 8);
  body.copy(frame, HEADER_BYTES);
  return channel.write(frame);
}

let parts = [];
let have = 0;
let wanted = HEADER_BYTES;

function take(data) {
  parts.push(data);
  have += data.length;
  if (have < wanted) return;
  let buffer = parts.length === 1 ? parts[0] : Buffer.concat(parts, have);
  wanted = HEADER_BYTES;
  while (buffer.length >= HEADER_BYTES) {
    const length = buffer.readUInt32BE(0);
    if (length > MAX_BODY_BYTES + EXEC_HEAD_BYTES) process.reallyExit(1);
    if (buffer.length < HEADER_BYTES + length) {
      wanted = HEADER_BYTES + length;
      break;
    }
    dispatch(buffer[4], buffer.readUInt32BE(8), buffer.subarray(HEADER_BYTES, HEADER_BYTES + length));
    buffer = buffer.subarray(HEADER_BYTES + length);
  }
  parts = buffer.length ? [buffer] : [];
  have = buffer.length;
}

// --- control messages (protobuf wire format, as much of it as Hello, Init and Ready need)

function varint(value) {
  const out = [];
  for (; value > 0x7f; value = Math.floor(value / 128)) out.push(value % 128 | 0x80); // wider than 32 bits
  out.push(value);
  return Buffer.from(out);
}

function field(number, value) {
  if (typeof value === 'number') return Buffer.concat([varint(number << 3), varint(value)]);
  const raw = Buffer.from(value);
  return Buffer.concat([varint((number << 3) | 2), varint(raw.length), raw]);
}

function* fields(data) {
  let at = 0;
  const read = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = data[at++];
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  while (at < data.length) {
    const tag = read();
    if ((tag & 7) === 0) yield [tag >>> 3, read()];
    else if ((tag & 7) === 2) {
      const size = read();
      yield [tag >>> 3, data.subarray(at, (at += size))];
    } else throw new Error(`unexpected protobuf wire type ${tag & 7}`);
  }
}

function parseInit(data) {
  const out = { code_dir: '/code', concurrency: 1, env: {}, log_limit_bytes: 64 << 10, memory_limit_mb: 0 };
  const texts = { 1: 'handler', 2: 'function_name', 3: 'function_version', 4: 'tenant', 5: 'namespace', 9: 'code_dir' };
  const numbers = { 6: 'memory_limit_mb', 7: 'concurrency', 10: 'log_limit_bytes' };
  for (const [number, value] of fields(data)) {
    if (texts[number]) out[texts[number]] = value.toString();
    else if (numbers[number]) out[numbers[number]] = value;
    else if (number === 8) {
      const entry = Object.fromEntries(fields(value));
      out.env[String(entry[1] ?? '')] = String(entry[2] ?? '');
    }
  }
  return out;
}

// --- what handlers print

class CallLog {
  constructor(callId, limitBytes) {
    this.callId = callId;
    this.left = limitBytes;
    this.open = ['', ''];
  }

  write(text, flag) {
    if (this.left < 0) return;
    const all = this.open[flag] + text;
    let end = all.lastIndexOf('\n') + 1;
    if (end === 0 && all.length > LINE_CHARS) end = all.length;
    this.open[flag] = all.slice(end);
    if (end > 0) this.send(all.slice(0, end), flag);
  }

  flush() {
    for (const flag of [0, LOG_STDERR]) {
      const text = this.open[flag];
      this.open[flag] = '';
      if (text) this.send(text, flag);
    }
  }

  send(text, flag) {
    if (this.left < 0) return;
    let raw = Buffer.from(text);
    if (raw.length > this.left) {
      let end = this.left;
      while (end > 0 && (raw[end] & 0xc0) === 0x80) end--; // not in the middle of a character
      raw = raw.subarray(0, end);
      flag |= LOG_CUT;
      this.left = -1;
    } else this.left -= raw.length;
    send(LOG, this.callId, raw, flag);
  }
}

let ambient = new CallLog(0, 64 << 10);

function catchOutput(stream, flag) {
  stream.write = (data, encoding, done) => {
    const text = typeof data === 'string' ? data : Buffer.from(data).toString();
    (calls.getStore() ?? ambient).write(text, flag);
    const callback = typeof encoding === 'function' ? encoding : done;
    if (callback) process.nextTick(callback);
    return true;
  };
}

// --- what handlers get and give

class Context {
  #until;
  #callId;

  constructor(head, callId) {
    this.#callId = callId;
    const hex = head.toString('hex', 0, 40);
    const remaining = head.readUInt32BE(40);
    this.request_id = hex.slice(0, 32).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
    this.function_name = init.function_name;
    this.function_version = init.function_version;
    this.tenant = init.tenant;
    this.namespace = init.namespace;
    this.memory_limit_mb = init.memory_limit_mb;
    this.deadline = (Date.now() + remaining) / 1000; // Unix seconds
    const traceId = hex.slice(32, 64);
    const spanId = hex.slice(64, 80);
    this.trace = { trace_id: traceId, span_id: spanId, traceparent: `00-${traceId}-${spanId}-01` };
    this.#until = performance.now() + remaining;
  }

  get logger() {
    return logger;
  }

  /** Values kept between calls (asks.cjs). */
  get state() {
    return platform().state(this.#callId);
  }

  /** What a durable execution does once (asks.cjs). */
  get steps() {
    return platform().steps(this.#callId);
  }

  /** Call a function of the same namespace: its output, or with `mode: 'async'` the id of the job. */
  invoke(name, payload = null, options = {}) {
    return platform().invoke(this.#callId, name, payload, options);
  }

  /**
   * Publish a message to a topic of the same namespace; it is committed when its id is there. Options: `key`, what it is
   * about; `attributes`, texts by name, which filters look at; `idempotency_key`, which makes repetitions one message.
   */
  publish(topic, payload = null, options = {}) {
    return platform().publish(this.#callId, topic, payload, options);
  }

  remaining_ms() {
    return Math.max(0, Math.floor(this.#until - performance.now()));
  }
}

let asks = null; // loaded by the first call that asks for something

function platform() {
  asks ??= require('./asks.cjs')({
    send: (callId, body) => send(ASK, callId, body),
    field,
    fields,
    encodeOutput,
    encodeError,
  });
  return asks;
}

const logger = Object.fromEntries(
  ['debug', 'info', 'warn', 'error'].map((level) => [
    level,
    (...values) => process.stderr.write(`${level.toUpperCase()} ${values.map(shown).join(' ')}\n`),
  ]),
);

function shown(value) {
  return typeof value === 'string' ? value : inspect(value);
}

function misfit(value, place, depth) {
  if (typeof value === 'number' && !Number.isFinite(value)) return `${place} is ${value}`;
  if (typeof value === 'bigint') return `${place} is a bigint`;
  if (typeof value === 'function' || typeof value === 'symbol') return `${place} is a ${typeof value}`;
  if (value === null || typeof value !== 'object' || typeof value.toJSON === 'function') return null;
  if (depth > 100) return `${place.slice(0, 200)} is nested too deeply or holds itself`;
  for (const key of Object.keys(value)) {
    const found = misfit(value[key], Array.isArray(value) ? `${place}[${key}]` : `${place}.${key}`, depth + 1);
    if (found) return found;
  }
  return null;
}

// JSON.stringify alone would turn NaN into null and drop functions: silent damage, so both are refused.
function refuse(key, value) {
  if (typeof value === 'number' ? !Number.isFinite(value) : typeof value === 'function' || typeof value === 'symbol')
    throw new TypeError('not JSON');
  return value;
}

function encodeOutput(value) {
  let text;
  try {
    text = JSON.stringify(value, refuse) ?? 'null'; // a handler that returns nothing answers null
  } catch (error) {
    throw new TypeError(`the output is not JSON: ${misfit(value, '$', 0) ?? error.message}`);
  }
  const raw = Buffer.from(text);
  if (raw.length > MAX_BODY_BYTES) {
    const error = new RangeError(`the output has ${raw.length} bytes; at most ${MAX_BODY_BYTES} are carried`);
    error.name = 'OutputTooLarge';
    throw error;
  }
  return raw;
}

const FOREIGN = [OUR_DIR, 'node:', 'ext:', '(native'];

// The part of a stack that is user code: everything above the first frame that is not.
function userStack(error) {
  const lines = String(error.stack ?? '').split('\n');
  const end = lines.findIndex((line) => /^\s+at /.test(line) && (FOREIGN.some((place) => line.includes(place))));
  return (end < 0 ? lines : lines.slice(0, end)).join('\n');
}

function encodeError(error) {
  const own = error instanceof Error || typeof error?.position?.file === 'string';
  let stack = own ? userStack(error) : '';
  // Bun's errors of syntax have a position and no stack; several of them come as one.
  for (const { message, position: at } of own ? [error, ...(Array.isArray(error.errors) ? error.errors : [])] : [])
    if (typeof at?.file === 'string') stack += `${stack && '\n'}${message}\n    at ${at.file}:${at.line}:${at.column}`;
  for (let cause = own ? error.cause : null, depth = 0; cause instanceof Error && depth < 8; cause = cause.cause, depth++)
    stack += `\nCaused by: ${userStack(cause)}`;
  if (stack.length > MAX_STACK_CHARS)
    stack = `${stack.slice(0, MAX_STACK_CHARS / 2)}\n...\n${stack.slice(-MAX_STACK_CHARS / 2)}`;
  const message = (own ? String(error.message) : shown(error)).slice(0, MAX_MESSAGE_CHARS);
  const type = own ? String(error.name || error.constructor.name) : 'Error';
  return Buffer.from(JSON.stringify({ type, message, stack: stack.toWellFormed() }));
}

async function loadHandler() {
  const dot = init.handler.lastIndexOf('.');
  const name = init.handler.slice(dot + 1);
  const base = path.join(init.code_dir, init.handler.slice(0, dot).replaceAll('.', '/'));
  if (dot <= 0 || !name) throw new Error(`the handler ${inspect(init.handler)} must look like "module.function"`);
  const ends = endings.flatMap((end) => [end, `/index${end}`]);
  const file = ends.map((end) => base + end).find((at) => existsSync(at));
  if (!file) throw new Error(`there is no ${base} with one of ${endings.join(' ')}`);
  const loaded = await import(pathToFileURL(file).href); // loads CommonJS too; its exports are the default
  const found = loaded[name] ?? loaded.default?.[name];
  if (found === undefined) throw new Error(`${path.basename(file)} exports no ${inspect(name)}`);
  if (typeof found !== 'function') throw new TypeError(`${init.handler} is a ${typeof found}, not a function`);
  return found;
}

// --- calls

function isIterable(value) {
  if (value === null || typeof value !== 'object' || typeof value.next !== 'function') return false;
  return Symbol.asyncIterator in value || Symbol.iterator in value;
}

async function chunk(callId, piece) {
  const raw = piece instanceof Uint8Array || typeof piece === 'string' ? Buffer.from(piece) : encodeOutput(piece);
  for (let at = 0; at < raw.length; at += CHUNK_BYTES)
    if (!send(CHUNK, callId, raw.subarray(at, at + CHUNK_BYTES))) await channel.drained();
}

async function outcome(callId, body) {
  const event = body.length > EXEC_HEAD_BYTES ? JSON.parse(body.toString('utf8', EXEC_HEAD_BYTES)) : null;
  const streamed = body.readUInt32BE(44) & EXEC_STREAM;
  const value = await handler(event, new Context(body, callId));
  if (isIterable(value)) {
    const pieces = [];
    for await (const piece of value) {
      if (streamed) await chunk(callId, piece);
      else pieces.push(piece instanceof Uint8Array ? Buffer.from(piece).toString() : piece);
    }
    return streamed ? Buffer.alloc(0) : encodeOutput(pieces);
  }
  if (!streamed) return encodeOutput(value);
  await chunk(callId, value ?? null);
  return Buffer.alloc(0);
}

function execute(callId, body) {
  ambient.left = init.log_limit_bytes;
  const log = new CallLog(callId, init.log_limit_bytes);
  inHand++;
  const end = (kind, answer) => {
    log.flush();
    send(kind, callId, answer);
    if (--inHand === 0 && stopping) leave(0);
  };
  calls.run(log, () => {
    outcome(callId, body).then(
      (answer) => end(RESULT, answer),
      (error) => end(ERROR, encodeError(error)),
    );
  });
}

async function load(body) {
  init = parseInit(body);
  ambient = new CallLog(0, init.log_limit_bytes);
  Object.assign(process.env, init.env);
  catchOutput(process.stdout, 0);
  catchOutput(process.stderr, LOG_STDERR);
  if (takesConsole) globalThis.console = new Console({ stdout: process.stdout, stderr: process.stderr });
  process.on('exit', () => flushAll());
  process.argv = [process.argv[0], path.join(init.code_dir, init.handler)];
  try {
    handler = await loadHandler();
  } catch (error) {
    ambient.flush();
    send(READY, 0, field(2, encodeError(error)));
    return;
  }
  ambient.flush();
  send(READY, 0, field(1, 1));
}

function flushAll() {
  calls.getStore()?.flush();
  ambient.flush();
}

function leave(status) {
  flushAll();
  channel.end(() => process.reallyExit(status));
}

function dispatch(kind, callId, body) {
  if (kind === EXEC && handler) execute(callId, body);
  else if (kind === INIT && !init) void load(Buffer.from(body));
  else if (kind === REPLY && asks) asks.replied(body);
  else if (kind === PING) send(PONG, callId, body);
  else if (kind === STOP) {
    stopping = true;
    if (inHand === 0) leave(0);
  } else if (kind !== CANCEL) process.reallyExit(1);
}

// In a template, whose code is not there yet: load and call a handler, so that what this takes is loaded and compiled
// when a function needs it. Nothing of it is left for the function to find but a name in the loader's cache.
async function rehearse() {
  const place = '/tmp/rehearsal';
  const file = `${place}/main${endings[0]}`;
  const exported = endings[0] === '.js' ? 'exports.handler =' : 'export const handler =';
  mkdirSync(place);
  try {
    writeFileSync(file, `${exported} async (event) => ({ seen: event.name });`);
    const loaded = await import(pathToFileURL(file).href);
    await calls.run(ambient, async () => encodeOutput(await loaded.handler(JSON.parse('{"name":"x"}'))));
    if (require.cache) delete require.cache[file];
  } finally {
    rmSync(place, { recursive: true });
  }
}

function isTemplate() {
  try {
    return readdirSync('/code').length === 0;
  } catch {
    return false;
  }
}

/** Greet the host and serve it for the rest of this process's life. */
function serve({ runtime, version, extensions, connected, hasOwnConsole = false }) {
  channel = connected;
  endings = extensions;
  takesConsole = hasOwnConsole;
  send(HELLO, 0, Buffer.concat([field(1, PROTOCOL), field(2, runtime), field(3, version)]));
  if (isTemplate()) rehearse().catch(() => {}); // a template all the same
}

module.exports = { serve, take };
