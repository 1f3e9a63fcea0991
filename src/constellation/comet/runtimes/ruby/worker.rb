# frozen_string_literal: true

# The Ruby worker: reads the frames of proto/agent.proto on descriptor 3, calls the handler, answers each exec frame with
# exactly one result or error frame. With one call at a time the handler runs in the main thread, with more in threads.
#
# It is started without RubyGems, which would take longer than all of it; the first mention of `Gem` loads them.

require "json"
require_relative "worker_wire"

module ConstellationWorker
  EXEC_STREAM = 1
  MAX_MESSAGE_CHARS = 8 << 10
  MAX_STACK_CHARS = 32 << 10
  MAX_DEPTH = 100 # what JSON.generate takes
  CHUNK_BYTES = 1 << 20
  OUR_DIR = "#{File.dirname(__FILE__)}/" # as backtraces spell it

  class OutputTooLarge < StandardError; end

  Trace = Struct.new(:trace_id, :span_id) do
    def traceparent = "00-#{trace_id}-#{span_id}-01"
  end

  # The second argument of a handler. `deadline` is in Unix seconds.
  class Context
    attr_reader :request_id, :function_name, :function_version, :tenant, :namespace, :memory_limit_mb, :deadline, :trace

    def initialize(init, head, ask)
      @ask = ask
      digits = head.byteslice(0, 40).unpack1("H*")
      remaining = head.byteslice(40, 4).unpack1("N")
      @request_id = [digits[0, 8], digits[8, 4], digits[12, 4], digits[16, 4], digits[20, 12]].join("-")
      @function_name, @function_version = init.function_name, init.function_version
      @tenant, @namespace, @memory_limit_mb = init.tenant, init.namespace, init.memory_limit_mb
      @deadline = Process.clock_gettime(Process::CLOCK_REALTIME) + remaining / 1000.0
      @trace = Trace.new(digits[32, 32], digits[64, 16])
      @until = Process.clock_gettime(Process::CLOCK_MONOTONIC, :millisecond) + remaining
    end

    # A Logger whose records go to the log of the call.
    def logger
      require "logger"
      @@logger ||= ::Logger.new($stderr, formatter: ->(level, _, _, message) { "#{level} #{message}\n" })
    end

    # Values kept between calls (worker_asks.rb).
    def state
      ask = @ask.call # which loads what State is
      State.new(ask)
    end

    # What a durable execution does once (worker_asks.rb).
    def steps
      ask = @ask.call
      Steps.new(ask)
    end

    # Call a function of the same namespace: its output, or with mode: "async" the id of the job.
    def invoke(name, payload = nil, mode: "sync", timeout: nil)
      raise ArgumentError, "mode must be \"sync\" or \"async\", not #{mode.inspect}" unless %w[sync async].include?(mode.to_s)

      ask, value = @ask.call, Output.encode(payload)
      return ask.call(Asker::INVOKE_ASYNC, name: name, value: value)["id"] if mode.to_s == "async"

      ask.call(Asker::INVOKE, name: name, value: value, for_ms: timeout && [1, (timeout * 1000).to_i].max)["output"]
    end

    # Publish a message to a topic of the same namespace; it is committed when its id is returned. Attributes are texts by
    # name, which filters of subscriptions look at; an idempotency key makes repetitions one message.
    def publish(topic, payload = nil, key: nil, attributes: nil, idempotency_key: nil)
      facts = { key: key, attributes: attributes, idempotency_key: idempotency_key }.compact
      @ask.call.call(Asker::PUBLISH, name: topic, value: Output.encode({ payload: payload, **facts }))["id"]
    end

    # Milliseconds until the platform ends this call; never below 0.
    def remaining_ms = [@until - Process.clock_gettime(Process::CLOCK_MONOTONIC, :millisecond), 0].max
  end

  # What a handler gives, as bytes.
  module Output
    module_function

    def encode(value)
      raw = encodable(value)
      return raw if raw.bytesize <= MAX_BODY_BYTES

      raise OutputTooLarge, "the output has #{raw.bytesize} bytes; at most #{MAX_BODY_BYTES} are carried"
    end

    def piece(value) = value.is_a?(String) ? value.b : encode(value)

    def listed(value) = value.is_a?(String) ? value.dup.force_encoding(Encoding::UTF_8).scrub : value

    def encodable(value)
      # JSON.generate alone would write "#<Object:0x...>" for what it does not know: silent damage.
      wrong = misfit(value, "$", 0)
      raise TypeError, "the output is not JSON: #{wrong}" if wrong

      JSON.generate(value)
    rescue JSON::GeneratorError, EncodingError => error
      raise TypeError, "the output is not JSON: #{error.message}"
    end

    def misfit(value, place, depth)
      case value
      when nil, true, false, Integer, String, Symbol then nil
      when Float then value.finite? ? nil : "#{place} is #{value}"
      when Hash, Array
        return "#{place[0, 200]} is nested too deeply or holds itself" if depth >= MAX_DEPTH

        if value.is_a?(Array)
          value.each_with_index { |item, at| (found = misfit(item, "#{place}[#{at}]", depth + 1)) && (return found) }
        else
          value.each { |key, item| (found = misfit(item, "#{place}.#{key}", depth + 1)) && (return found) }
        end
        nil
      else
        own = value.method(:to_json).owner
        own.name.to_s.start_with?("JSON::Ext", "JSON::Pure") ? "#{place} is a #{value.class}" : nil
      end
    end

    def error(error)
      stack = stack_of(error)
      cause = error.cause
      8.times do
        break unless cause

        stack += "\nCaused by: #{stack_of(cause)}"
        cause = cause.cause
      end
      stack = "#{stack[0, MAX_STACK_CHARS / 2]}\n...\n#{stack[-MAX_STACK_CHARS / 2..]}" if stack.size > MAX_STACK_CHARS
      JSON.generate({ type: error.class.name || "Error", message: message_of(error)[0, MAX_MESSAGE_CHARS], stack: stack })
    end

    def message_of(error)
      error.message.to_s.dup.force_encoding(Encoding::UTF_8).scrub
    rescue StandardError
      "<the exception has no readable message>"
    end

    # The part of a stack that is user code: everything above the first frame of ours.
    def stack_of(error)
      frames = (error.backtrace || []).drop_while { |line| line.start_with?(OUR_DIR) }.take_while { |line| !line.start_with?(OUR_DIR) }
      head = "#{error.class}: #{message_of(error)}"
      [head, *frames.map { |line| "    at #{line.scrub}" }].join("\n")
    end
  end

  class Worker
    def initialize
      @channel = Channel.new(3)
      @ambient = CallLog.new(@channel, 0, 64 << 10)
      @only = nil # the log of the call in hand when calls come one at a time
      @calls = Queue.new
      @lanes = @busy = 0
      @count = Mutex.new
    end

    def log = Thread.current.thread_variable_get(:constellation_log) || @only || @ambient

    def serve
      @channel.send(HELLO, 0, Wire.field(1, PROTOCOL) + Wire.field(2, "ruby") + Wire.field(3, RUBY_VERSION))
      loop do
        kind, call_id, body = @channel.receive
        if kind == EXEC && @handler
          @init.concurrency <= 1 ? run_alone(call_id, body) : run_in_thread(call_id, body)
          break if @asker&.is_stopped
        elsif kind == INIT && !@init then load_function(Init.new(body))
        elsif kind == REPLY && @asker then @asker.replied(body)
        elsif kind == PING then @channel.send(PONG, call_id, body)
        elsif kind == STOP then break
        elsif kind != CANCEL then Process.exit!(1)
        end
      end
      sleep 0.005 while @count.synchronize { @busy.positive? }
      leave(0)
    end

    # In a child that user code forked.
    def became_child
      @channel.forsake
      $stdout, $stderr = STDOUT, STDERR
    end

    private

    # Made by the first call that asks for something; returns what asks in that call.
    def asking(call_id)
      require_relative "worker_asks"
      asker = @count.synchronize { @asker ||= Asker.new(@channel, @init.concurrency <= 1).tap { |made| made.current = @current } }
      ->(op, **wanted) { asker.ask(call_id, op, wanted) }
    end

    def load_function(init)
      @init = init
      @ambient = CallLog.new(@channel, 0, init.log_limit_bytes)
      $stdout, $stderr = LogStream.new(self, 0), LogStream.new(self, LOG_STDERR)
      ENV.update(init.env)
      add_load_paths(init.code_dir)
      @handler = find_handler(init)
      @ambient.flush
      @channel.send(READY, 0, Wire.field(1, 1))
    rescue SystemExit => error
      leave(error.status)
    rescue Exception => error # rubocop:disable Lint/RescueException - a syntax error is none of StandardError
      @ambient.flush
      @channel.send(READY, 0, Wire.field(2, Output.error(error)))
      leave(1)
    end

    # What Bundler and gem install into vendor/, gems unpacked there, the function's own lib/, and the same of layers.
    def add_load_paths(code_dir)
      $LOAD_PATH.unshift(code_dir, "#{code_dir}/lib")
      %w[vendor deps].map { |name| "#{code_dir}/#{name}" }.push("/opt/ruby").each do |place|
        next unless File.directory?(place)

        homes = Dir.glob(["#{place}/ruby/*", "#{place}/bundle/ruby/*"])
        homes << place if File.directory?("#{place}/specifications")
        gems = homes.flat_map { |home| Dir.glob(["#{home}/gems/*/lib", "#{home}/extensions/*/*/*"]) }
        $LOAD_PATH.concat([place, *Dir.glob(["#{place}/lib", "#{place}/*/lib"]), *gems])
        ENV["GEM_PATH"] = [*ENV["GEM_PATH"], *homes].join(":") unless homes.empty?
      end
    end

    def find_handler(init)
      file, _, name = init.handler.rpartition(".")
      raise ArgumentError, "the handler #{init.handler.inspect} must look like \"file.function\"" if file.empty? || name.empty?

      path = "#{init.code_dir}/#{file.tr(".", "/")}.rb"
      raise LoadError, "there is no #{path}" unless File.file?(path)

      $PROGRAM_NAME = path
      require path
      main = TOPLEVEL_BINDING.receiver
      raise NameError, "#{File.basename(path)} defines no method #{name}" unless main.respond_to?(name, true)

      main.method(name)
    end

    def run_alone(call_id, body)
      @ambient.left = @init.log_limit_bytes
      @only = CallLog.new(@channel, call_id, @init.log_limit_bytes)
      @current = call_id
      @asker&.current = call_id
      kind, answer = outcome(call_id, body)
      @current = 0 # first: a thread that asks from now on is refused, or is seen to have asked
      @asker&.current = 0
      @asker.settle if @asker&.was_used
      @only.flush
      @only = nil
      @channel.send(kind, call_id, answer)
    end

    def run_in_thread(call_id, body)
      wanted = @count.synchronize do
        @busy += 1
        (@busy > @lanes).tap { |more| @lanes += 1 if more }
      end
      @calls << [call_id, body]
      Thread.new { loop { run_in_lane(*@calls.pop) } } if wanted
    end

    def run_in_lane(call_id, body)
      log = CallLog.new(@channel, call_id, @init.log_limit_bytes)
      Thread.current.thread_variable_set(:constellation_log, log)
      kind, answer = outcome(call_id, body)
      log.flush
      Thread.current.thread_variable_set(:constellation_log, nil)
      @count.synchronize { @busy -= 1 }
      @channel.send(kind, call_id, answer)
    end

    # Call the handler and return the frame that ends the call.
    def outcome(call_id, body)
      event = body.bytesize > EXEC_HEAD_BYTES ? JSON.parse(body.byteslice(EXEC_HEAD_BYTES..).force_encoding(Encoding::UTF_8)) : nil
      streamed = (body.byteslice(44, 4).unpack1("N") & EXEC_STREAM).positive?
      value = @handler.call(event, Context.new(@init, body, -> { asking(call_id) }))
      pieces = value.is_a?(Enumerator) ? value : nil
      if streamed
        (pieces || [value]).each { |piece| chunk(call_id, piece) }
        return [RESULT, ""]
      end
      [RESULT, Output.encode(pieces ? pieces.map { |piece| Output.listed(piece) }.to_a : value)]
    rescue SystemExit => error
      leave(error.status)
    rescue Exception => error # rubocop:disable Lint/RescueException - whatever user code raises is its outcome
      [ERROR, Output.error(error)]
    end

    def chunk(call_id, piece)
      raw = Output.piece(piece)
      0.step(raw.bytesize - 1, CHUNK_BYTES) { |at| @channel.send(CHUNK, call_id, raw.byteslice(at, CHUNK_BYTES)) }
    end

    def leave(status)
      [Thread.current.thread_variable_get(:constellation_log), @only, @ambient].compact.each(&:flush)
      Process.exit!(status)
    end
  end

  # Kernel#fork and what is built on it come by here.
  module Forks
    def _fork
      super.tap { |pid| WORKER.became_child if pid.zero? }
    end
  end

  WORKER = Worker.new
  Process.singleton_class.prepend(Forks)
end

Object.autoload(:Gem, "rubygems") unless defined?(Gem)
ConstellationWorker::WORKER.serve
