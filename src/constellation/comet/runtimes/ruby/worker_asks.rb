# frozen_string_literal: true

# What a handler asks of the platform: `context.state`, `context.invoke`, `context.publish`, `context.steps`.
# Each ask is answered once. Where calls come one at a time, the thread that asks reads the channel itself until its reply is there; with more, the
# main thread reads for all.

module ConstellationWorker
  # The platform did not do what was asked. `code` is stable: "not_found", "version_conflict", "recursion", ...
  class Error < StandardError
    attr_reader :code, :type, :remote_message, :remote_stack

    def initialize(facts)
      @code, @type = facts["code"], facts["type"]
      @remote_message, @remote_stack = facts["message"], facts["stack"].to_s
      super(@remote_stack.empty? ? @remote_message : "#{@type}: #{@remote_message}")
    end
  end

  # The function that was called raised; the step raised, now or in an earlier run; no such event came in time.
  FunctionFailed, StepFailed, EventTimeout = Array.new(3) { Class.new(Error) }

  # The execution waits, and this run of it ends here. No StandardError: nothing that follows would count.
  class Suspended < Exception; end # rubocop:disable Lint/InheritException - what rescues errors must not rescue it

  # Asks for all calls of one worker.
  class Asker
    GET, PUT, DELETE, LIST, INVOKE, INVOKE_ASYNC, STEP, STEP_DONE, SLEEP, WAIT, PUBLISH, WAIT_MESSAGE = (1..12).to_a
    FIELDS = { op: 2, name: 3, key: 4, value: 5, if_version: 6, ttl_ms: 7, for_ms: 8, limit: 9, after: 10, seq: 11, error: 12 }.freeze
    KINDS = { "function_error" => FunctionFailed, "step_failed" => StepFailed, "timeout" => EventTimeout }.freeze
    attr_reader :was_used, :is_stopped
    attr_writer :current # the call in hand when calls come one at a time

    def initialize(channel, is_alone)
      @channel, @is_alone = channel, is_alone
      @turn, @last, @replies = Mutex.new, 0, {}
    end

    def ask(call_id, op, wanted)
      @was_used = true
      parts = wanted.compact.map { |name, value| Wire.field(FIELDS.fetch(name), value) }.join
      answer = @is_alone ? ask_alone(call_id, op, parts) : ask_of_many(call_id, op, parts)
      return JSON.parse(answer[2]) unless answer[3]

      facts = JSON.parse(answer[3])
      raise Suspended, facts["message"] if facts["code"] == "suspended"

      raise KINDS.fetch(facts["code"], Error).new(facts)
    end

    # Hand a reply to the thread that waits for it.
    def replied(body)
      answer = read(body)
      waiting = @turn.synchronize { @replies.delete(answer[1]) }
      waiting&.push(answer)
    end

    # Before a call is answered: wait for what threads of it still ask, so that one thread reads the channel again.
    def settle = @turn.synchronize { @was_used = false }

    private

    def ask_alone(call_id, op, parts)
      @turn.synchronize do
        raise Error, { "code" => "call_ended", "message" => "the call in which this was asked has ended" } if call_id != @current

        send_ask(call_id, @last = @last % 0xffffffff + 1, op, parts)
        loop do
          kind, id, body = @channel.receive
          if kind == REPLY
            answer = read(body)
            return answer if answer[1] == @last
          elsif kind == PING then @channel.send(PONG, id, body)
          elsif kind == STOP then @is_stopped = true
          end
        end
      end
    end

    def ask_of_many(call_id, op, parts)
      reply = Queue.new
      id = @turn.synchronize do
        @replies[@last = @last % 0xffffffff + 1] = reply
        @last
      end
      send_ask(call_id, id, op, parts)
      reply.pop
    end

    def send_ask(call_id, id, op, parts)
      @channel.send(ASK, call_id, Wire.field(1, id) << Wire.field(FIELDS[:op], op) << parts)
    end

    def read(body)
      {}.tap { |answer| Wire.fields(body) { |number, value| answer[number] = value.is_a?(String) ? value.force_encoding(Encoding::UTF_8) : value } }
    end
  end

  Entry = Struct.new(:value, :version, :expires_at)
  Keys = Struct.new(:items, :next)

  # Values under keys, kept between calls: the function's own, or those of `store(name)`, which its namespace shares.
  class State
    def initialize(ask, name = nil)
      @ask, @name = ask, name
    end

    def store(name) = State.new(@ask, name)

    def get(key, default = nil)
      found = entry(key)
      found ? found.value : default
    end

    def entry(key)
      found = @ask.call(Asker::GET, name: @name, key: key)
      found && Entry.new(found["value"], found["version"], found["expires_at"])
    end

    # Keep a value; return its version. `if_version: 0`: only if the key is not there.
    def put(key, value, if_version: nil, ttl_s: nil)
      ttl_ms = ttl_s && [1, (ttl_s * 1000).to_i].max
      @ask.call(Asker::PUT, name: @name, key: key, value: Output.encode(value), if_version: if_version, ttl_ms: ttl_ms)["version"]
    end

    # Delete a key; false when it was not there.
    def delete(key, if_version: nil) = @ask.call(Asker::DELETE, name: @name, key: key, if_version: if_version)["deleted"]

    # A page of keys: `items`, and `next`, which is the `after` of the next page.
    def list(prefix = "", limit: 100, after: nil)
      found = @ask.call(Asker::LIST, name: @name, key: prefix, limit: limit, after: after)
      Keys.new(found["items"], found["next"])
    end
  end

  # What a durable execution does once, whatever happens to it: steps are taken one after the other.
  class Steps
    def initialize(ask)
      @ask = ask
    end

    # What the block returned when it ran first; raises StepFailed when it raised.
    def run(name)
      begun = @ask.call(Asker::STEP, name: name)
      return begun["output"] unless begun["seq"]

      begin
        value = yield
      rescue StandardError => error
        raw = Output.error(error)
        @ask.call(Asker::STEP_DONE, seq: begun["seq"], error: raw)
        raise StepFailed, JSON.parse(raw).merge("code" => "step_failed")
      end
      raw = Output.encode(value)
      @ask.call(Asker::STEP_DONE, seq: begun["seq"], value: raw)
      JSON.parse(raw) # as a later run will have it
    end

    # Wait up to a year; nothing of the execution runs meanwhile.
    def sleep(seconds, name = "sleep")
      @ask.call(Asker::SLEEP, name: name, for_ms: (seconds * 1000).to_i)
      nil
    end

    # The payload of the next event of this name; raises EventTimeout when none came within `timeout` seconds.
    def wait_for_event(name, timeout = nil)
      @ask.call(Asker::WAIT, name: name, for_ms: timeout && [1, (timeout * 1000).to_i].max)["payload"]
    end

    # The next message of a topic as a function that subscribes to it gets it: "data" is its payload. Messages count from the
    # step before on. `filter` has attributes, each with the text that it has, `{ prefix: … }` or a list of these; raises EventTimeout.
    def wait_for_message(topic, key: nil, filter: nil, timeout: nil)
      for_ms = timeout && [1, (timeout * 1000).to_i].max
      @ask.call(Asker::WAIT_MESSAGE, name: topic, key: key, value: filter && JSON.generate(filter), for_ms: for_ms)["message"]
    end
  end
end
