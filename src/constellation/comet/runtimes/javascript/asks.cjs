'use strict';
// What a handler asks of the platform: context.state, context.invoke, context.publish, context.steps. Each ask is answered once.

const [GET, PUT, DELETE, LIST, INVOKE, INVOKE_ASYNC, STEP, STEP_DONE, SLEEP, WAIT, PUBLISH, WAIT_MESSAGE] =
  Array.from({ length: 12 }, (_, i) => i + 1);
const FIELDS = {
  op: 2, name: 3, key: 4, value: 5, if_version: 6, ttl_ms: 7, for_ms: 8, limit: 9, after: 10, seq: 11, error: 12,
}; // of Ask
const MAX_ID = 0xffffffff;

/** The platform did not do what was asked. `code` is stable: "not_found", "version_conflict", "recursion", … */
class ConstellationError extends Error {
  constructor(facts) {
    super(facts.stack ? `${facts.type}: ${facts.message}` : facts.message);
    this.name = this.constructor.name;
    this.code = facts.code;
    this.type = facts.type;
    this.remote = { message: facts.message, stack: facts.stack ?? '' };
  }
}

/** The function that was called raised: `type` and `remote` say what. */
class FunctionFailed extends ConstellationError {}

/** The step raised, now or in an earlier run: `type` and `remote` say what. */
class StepFailed extends ConstellationError {}

/** No such event came in time. */
class EventTimeout extends ConstellationError {}

/** The execution waits, and this run of it ends here. Not to be caught: nothing that follows would count. */
class Suspended extends Error {
  name = 'Suspended';
}

const ERRORS = { function_error: FunctionFailed, step_failed: StepFailed, timeout: EventTimeout };

function failure(facts) {
  if (facts.code === 'suspended') return new Suspended(facts.message);
  return new (ERRORS[facts.code] ?? ConstellationError)(facts);
}

/** Values under keys, kept between calls: the function's own, or those of `store(name)`, which its namespace shares. */
class State {
  #ask;
  #name;

  constructor(ask, name) {
    this.#ask = ask;
    this.#name = name;
  }

  store(name) {
    return new State(this.#ask, name);
  }

  async get(key, fallback = null) {
    const entry = await this.entry(key);
    return entry === null ? fallback : entry.value;
  }

  /** The value with its version, and when it goes; null when it is not there. */
  entry(key) {
    return this.#ask(GET, { name: this.#name, key });
  }

  /** Keep a value; returns its version. `if_version: 0`: only if the key is not there. */
  async put(key, value, { if_version, ttl_s } = {}) {
    const ttl_ms = ttl_s === undefined ? undefined : Math.max(1, Math.floor(ttl_s * 1000));
    return (await this.#ask(PUT, { name: this.#name, key, value: this.#ask.encoded(value), if_version, ttl_ms })).version;
  }

  /** Delete a key; false when it was not there. */
  async delete(key, { if_version } = {}) {
    return (await this.#ask(DELETE, { name: this.#name, key, if_version })).deleted;
  }

  /** A page of keys: `items`, and `next`, which is the `after` of the next page. */
  list(prefix = '', { limit = 100, after } = {}) {
    return this.#ask(LIST, { name: this.#name, key: prefix, limit, after });
  }
}

/** What a durable execution does once, whatever happens to it: steps are taken one after the other. */
class Steps {
  #ask;

  constructor(ask) {
    this.#ask = ask;
  }

  /** What `work(...args)` returned when it ran first; throws StepFailed when it threw. */
  async run(name, work, ...args) {
    const begun = await this.#ask(STEP, { name });
    if (!('seq' in begun)) return begun.output;
    let value;
    try {
      value = await work(...args);
    } catch (error) {
      const raw = this.#ask.failed(error);
      await this.#ask(STEP_DONE, { seq: begun.seq, error: raw });
      throw new StepFailed({ ...JSON.parse(raw), code: 'step_failed' });
    }
    const raw = this.#ask.encoded(value);
    await this.#ask(STEP_DONE, { seq: begun.seq, value: raw });
    return JSON.parse(raw); // as a later run will have it
  }

  /** Wait up to a year; nothing of the execution runs meanwhile. */
  async sleep(seconds, name = 'sleep') {
    await this.#ask(SLEEP, { name, for_ms: Math.floor(seconds * 1000) });
  }

  /** The payload of the next event of this name; throws EventTimeout when none came within `timeout` seconds. */
  async wait_for_event(name, timeout) {
    const for_ms = timeout === undefined ? undefined : Math.max(1, Math.floor(timeout * 1000));
    return (await this.#ask(WAIT, { name, for_ms })).payload;
  }

  /**
   * The next message of a topic as a function that subscribes to it gets it: `data` is its payload. Messages count from the step
   * before on. `filter` has attributes, each with the text that it has, `{prefix}` or a list of these; throws EventTimeout.
   */
  async wait_for_message(topic, { key, filter, timeout } = {}) {
    const for_ms = timeout === undefined ? undefined : Math.max(1, Math.floor(timeout * 1000));
    const value = filter === undefined ? undefined : this.#ask.encoded(filter);
    return (await this.#ask(WAIT_MESSAGE, { name: topic, key, value, for_ms })).message;
  }
}

/** Asks for all calls of one worker: `send(callId, body)` sends the frame. */
module.exports = function asks({ send, field, fields, encodeOutput, encodeError }) {
  const waiting = new Map();
  let last = 0;

  function of(callId) {
    const ask = (op, wanted) =>
      new Promise((answer, refuse) => {
        do last = (last % MAX_ID) + 1;
        while (waiting.has(last));
        waiting.set(last, { answer, refuse });
        const parts = [field(1, last), field(FIELDS.op, op)];
        for (const [name, value] of Object.entries(wanted))
          if (value !== undefined && value !== null) parts.push(field(FIELDS[name], value));
        send(callId, Buffer.concat(parts));
      });
    ask.encoded = encodeOutput;
    ask.failed = encodeError;
    return ask;
  }

  return {
    state: (callId) => new State(of(callId)),
    steps: (callId) => new Steps(of(callId)),

    async invoke(callId, name, payload, { mode = 'sync', timeout } = {}) {
      if (mode !== 'sync' && mode !== 'async') throw new TypeError(`mode must be "sync" or "async", not ${mode}`);
      const value = encodeOutput(payload);
      if (mode === 'async') return (await of(callId)(INVOKE_ASYNC, { name, value })).id;
      const for_ms = timeout === undefined ? undefined : Math.max(1, Math.floor(timeout * 1000));
      return (await of(callId)(INVOKE, { name, value, for_ms })).output;
    },

    async publish(callId, topic, payload, { key, attributes, idempotency_key } = {}) {
      const value = encodeOutput({ payload, key, attributes, idempotency_key });
      return (await of(callId)(PUBLISH, { name: topic, value })).id;
    },

    replied(body) {
      const { 1: id, 2: value, 3: error } = Object.fromEntries(fields(body));
      const asked = waiting.get(id);
      waiting.delete(id);
      if (error) asked?.refuse(failure(JSON.parse(error)));
      else asked?.answer(JSON.parse(value));
    },
  };
};
