# frozen_string_literal: true

# The worker's side of proto/agent.proto: frames on one socket, three protobuf messages, logs as frames.

require "monitor"

module ConstellationWorker
  HELLO, INIT, READY, EXEC, RESULT, ERROR, CHUNK, LOG, CANCEL, PING, PONG, STOP, ASK, REPLY = (1..14).to_a
  LOG_STDERR = 1
  LOG_CUT = 2
  PROTOCOL = 1
  HEADER = "NCCnN"
  HEADER_BYTES = 12
  EXEC_HEAD_BYTES = 48
  MAX_BODY_BYTES = 6 << 20 # of an event and of an output; the platform's limit for a synchronous call
  LINE_BYTES = 4 << 10 # a longer line is sent in pieces

  # Protobuf's wire format, as much of it as Hello, Init and Ready need.
  module Wire
    module_function

    def varint(value)
      out = "".b
      while value > 0x7f
        out << (value & 0x7f | 0x80)
        value >>= 7
      end
      out << value
    end

    def field(number, value)
      return varint(number << 3) << varint(value) if value.is_a?(Integer)

      varint(number << 3 | 2) << varint(value.bytesize) << value.b
    end

    def fields(data)
      at = 0
      read = lambda do
        value = shift = 0
        loop do
          byte = data.getbyte(at)
          at += 1
          value |= (byte & 0x7f) << shift
          return value if byte < 0x80

          shift += 7
        end
      end
      while at < data.bytesize
        tag = read.call
        case tag & 7
        when 0 then yield tag >> 3, read.call
        when 2
          size = read.call
          yield tag >> 3, data.byteslice(at, size)
          at += size
        else raise "unexpected protobuf wire type #{tag & 7}"
        end
      end
    end
  end

  # What the host says once: whose function this is and where its code lies.
  class Init
    TEXTS = { 1 => :handler, 2 => :function_name, 3 => :function_version, 4 => :tenant, 5 => :namespace, 9 => :code_dir }.freeze
    NUMBERS = { 6 => :memory_limit_mb, 7 => :concurrency, 10 => :log_limit_bytes }.freeze
    attr_reader :env, *TEXTS.values, *NUMBERS.values

    def initialize(data)
      @code_dir, @concurrency, @env, @log_limit_bytes, @memory_limit_mb = "/code", 1, {}, 64 << 10, 0
      @handler = @function_name = @function_version = @tenant = @namespace = ""
      Wire.fields(data) do |number, value|
        if (name = TEXTS[number]) then instance_variable_set("@#{name}", value.force_encoding(Encoding::UTF_8))
        elsif (name = NUMBERS[number]) then instance_variable_set("@#{name}", value)
        elsif number == 8
          entry = { 1 => "", 2 => "" }
          Wire.fields(value) { |key, text| entry[key] = text.force_encoding(Encoding::UTF_8) }
          @env[entry[1]] = entry[2]
        end
      end
    end
  end

  # Frames over one stream socket. Whatever breaks it ends the process: nobody is left to talk to.
  class Channel
    def initialize(descriptor)
      @io = IO.for_fd(descriptor, "r+b")
      @io.sync = true
      @io.close_on_exec = true
      @lock, @reads = Mutex.new, [@io]
    end

    def send(kind, call_id = 0, body = "", flags = 0)
      frame = [body.bytesize, kind, flags, 0, call_id].pack(HEADER) << body.b
      @lock.synchronize { @io.write(frame) }
    rescue SystemCallError, IOError
      Process.exit!(1)
    end

    # Who sleeps in read() of a unix socket is also woken when the host has taken what was written; in select() for what it
    # asks for only.
    def receive
      IO.select(@reads)
      length, kind, _, _, call_id = read(HEADER_BYTES).unpack(HEADER)
      Process.exit!(1) if length > MAX_BODY_BYTES + EXEC_HEAD_BYTES
      [kind, call_id, read(length)]
    rescue SystemCallError, IOError
      Process.exit!(1)
    end

    # In a child that user code forked: what it says is not ours to say.
    def forsake
      @io.close
    rescue IOError
      nil
    end

    private

    def read(count)
      return "".b if count.zero?

      data = @io.read(count)
      Process.exit!(0) if data.nil? || data.bytesize < count
      data
    rescue SystemCallError, IOError
      Process.exit!(1)
    end
  end

  # One call's printed output on its way to the host, bounded; id 0 is what no call printed.
  class CallLog
    attr_writer :left

    def initialize(channel, call_id, limit)
      @channel, @id, @left, @open, @lock = channel, call_id, limit, ["".b, "".b], Monitor.new
    end

    def write(text, flag)
      @lock.synchronize do
        return if @left.negative?

        all = @open[flag] << text.b
        size = (all.rindex("\n") || -1) + 1
        size = all.bytesize if size.zero? && all.bytesize > LINE_BYTES
        return if size.zero?

        @open[flag] = all.byteslice(size..)
        emit(all.byteslice(0, size), flag)
      end
    end

    def flush
      @lock.synchronize do
        [0, LOG_STDERR].each do |flag|
          text, @open[flag] = @open[flag], "".b
          emit(text, flag) unless text.empty?
        end
      end
    end

    private

    def emit(raw, flag)
      return if @left.negative?

      if raw.bytesize > @left
        raw = raw.byteslice(0, @left).force_encoding(Encoding::UTF_8).scrub("")
        flag |= LOG_CUT
        @left = -1
      else
        @left -= raw.bytesize
      end
      @channel.send(LOG, @id, raw, flag)
    end
  end

  # `$stdout` and `$stderr` of the function: text goes to the log of the call that printed it.
  class LogStream
    attr_accessor :sync

    def initialize(worker, flag)
      @worker, @flag, @sync = worker, flag, true
    end

    def write(*parts)
      text = parts.join
      @worker.log.write(text, @flag)
      text.bytesize
    end
    alias syswrite write

    def print(*parts)
      write(*parts)
      nil
    end

    def puts(*items)
      write("\n") if items.empty?
      items.flatten.each { |item| write(item.to_s.end_with?("\n") ? item.to_s : "#{item}\n") }
      nil
    end

    def <<(item)
      write(item.to_s)
      self
    end

    def printf(format, *values)
      write(Kernel.format(format, *values))
      nil
    end

    def putc(item)
      write(item.is_a?(Integer) ? (item & 0xff).chr : item.to_s[0])
      item
    end

    def flush = self
    def fsync = 0
    def fileno = @flag + 1
    def tty? = false
    alias isatty tty?
    def close = nil
    def closed? = false
    def external_encoding = Encoding::UTF_8
    def set_encoding(*) = self
  end
end
