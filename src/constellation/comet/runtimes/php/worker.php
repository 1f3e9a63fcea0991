<?php
// The PHP worker: reads the frames of proto/agent.proto on descriptor 3, calls the handler, answers each exec frame with
// exactly one result or error frame. Calls come one after the other: PHP has one thread.

declare(strict_types=1);

namespace ConstellationWorker;

const HELLO = 1, INIT = 2, READY = 3, EXEC = 4, RESULT = 5, ERROR = 6, CHUNK = 7, LOG = 8, CANCEL = 9, PING = 10, PONG = 11, STOP = 12;
const LOG_STDERR = 1, LOG_CUT = 2;
const PROTOCOL = 1;
const HEADER_BYTES = 12;
const EXEC_HEAD_BYTES = 48;
const EXEC_STREAM = 1;
const MAX_BODY_BYTES = 6 << 20; // of an event and of an output; the platform's limit for a synchronous call
const MAX_MESSAGE_BYTES = 8 << 10;
const MAX_STACK_BYTES = 32 << 10;
const CHUNK_BYTES = 1 << 20;
const LINE_BYTES = 4 << 10; // a longer line is sent in pieces
const JSON_OUT = \JSON_UNESCAPED_SLASHES | \JSON_UNESCAPED_UNICODE | \JSON_PRESERVE_ZERO_FRACTION | \JSON_THROW_ON_ERROR;
const FATAL = \E_ERROR | \E_PARSE | \E_CORE_ERROR | \E_COMPILE_ERROR | \E_RECOVERABLE_ERROR;

final class OutputTooLarge extends \RuntimeException
{
}

// --- protobuf's wire format, as much of it as Hello, Init and Ready need

function varint(int $value): string
{
    for ($out = ''; $value > 0x7f; $value >>= 7) {
        $out .= \chr($value & 0x7f | 0x80);
    }
    return $out . \chr($value);
}

function field(int $number, int|string $value): string
{
    return \is_int($value)
        ? varint($number << 3) . varint($value)
        : varint($number << 3 | 2) . varint(\strlen($value)) . $value;
}

function fields(string $data): \Generator
{
    $at = 0;
    $read = static function () use ($data, &$at): int {
        for ($value = $shift = 0;; $shift += 7) {
            $byte = \ord($data[$at++]);
            $value |= ($byte & 0x7f) << $shift;
            if ($byte < 0x80) {
                return $value;
            }
        }
    };
    while ($at < \strlen($data)) {
        $tag = $read();
        if (($tag & 7) === 0) {
            yield $tag >> 3 => $read();
        } elseif (($tag & 7) === 2) {
            $size = $read();
            yield $tag >> 3 => \substr($data, $at, $size);
            $at += $size;
        } else {
            throw new \RuntimeException('unexpected protobuf wire type ' . ($tag & 7));
        }
    }
}

/** What the host says once: whose function this is and where its code lies. */
final class Init
{
    public string $handler = '', $function_name = '', $function_version = '', $tenant = '', $namespace = '', $code_dir = '/code';
    public int $memory_limit_mb = 0, $concurrency = 1, $log_limit_bytes = 64 << 10;
    public array $env = [];

    public function __construct(string $data)
    {
        $names = [
            1 => 'handler', 2 => 'function_name', 3 => 'function_version', 4 => 'tenant', 5 => 'namespace',
            6 => 'memory_limit_mb', 7 => 'concurrency', 9 => 'code_dir', 10 => 'log_limit_bytes',
        ];
        foreach (fields($data) as $number => $value) {
            if (isset($names[$number])) {
                $this->{$names[$number]} = $value;
            } elseif ($number === 8) {
                $entry = [1 => '', 2 => ''];
                foreach (fields($value) as $key => $text) {
                    $entry[$key] = $text;
                }
                $this->env[$entry[1]] = $entry[2];
            }
        }
    }
}

/** Frames over one stream socket. Whatever breaks it ends the process: nobody is left to talk to. */
final class Channel
{
    private $stream;
    private int $pid;

    public function __construct(int $descriptor)
    {
        $this->stream = \fopen("php://fd/$descriptor", 'r+b');
        \stream_set_chunk_size($this->stream, 64 << 10);
        $this->pid = \getmypid();
    }

    public function send(int $kind, int $callId = 0, string $body = '', int $flags = 0): void
    {
        if (\getmypid() !== $this->pid) {
            return; // in a child that user code forked: what it says is not ours to say
        }
        $data = \pack('NCCnN', \strlen($body), $kind, $flags, 0, $callId) . $body;
        while ($data !== '') {
            $sent = @\fwrite($this->stream, $data);
            if (!$sent) {
                exit(1);
            }
            $data = \substr($data, $sent);
        }
    }

    /** @return array{int, int, string} kind, call id and body */
    public function receive(): array
    {
        if (\getmypid() !== $this->pid) {
            exit(0);
        }
        // Who sleeps in read() of a unix socket is also woken when the host has taken what was written; in select() for what
        // it asks for only.
        [$news, $none] = [[$this->stream], null];
        @\stream_select($news, $none, $none, null);
        ['length' => $length, 'kind' => $kind, 'call' => $call] = \unpack('Nlength/Ckind/Cflags/nzero/Ncall', $this->read(HEADER_BYTES));
        if ($length > MAX_BODY_BYTES + EXEC_HEAD_BYTES) {
            exit(1);
        }
        return [$kind, $call, $this->read($length)];
    }

    private function read(int $count): string
    {
        for ($parts = []; $count > 0; $count -= \strlen($part)) {
            $part = @\fread($this->stream, $count);
            if ($part === false || $part === '') {
                exit(0); // the host is gone
            }
            $parts[] = $part;
        }
        return \implode('', $parts);
    }
}

/** One call's printed output on its way to the host, bounded; id 0 is what no call printed. */
final class CallLog
{
    private array $open = ['', ''];

    public function __construct(private Channel $channel, private int $callId, private int $left)
    {
    }

    public function write(string $text, int $flag): void
    {
        if ($this->left < 0) {
            return;
        }
        $all = $this->open[$flag] . $text;
        $line = \strrpos($all, "\n");
        $size = $line === false ? (\strlen($all) > LINE_BYTES ? \strlen($all) : 0) : $line + 1;
        $this->open[$flag] = \substr($all, $size);
        if ($size > 0) {
            $this->emit(\substr($all, 0, $size), $flag);
        }
    }

    public function flush(): void
    {
        foreach ([0, LOG_STDERR] as $flag) {
            [$text, $this->open[$flag]] = [$this->open[$flag], ''];
            if ($text !== '') {
                $this->emit($text, $flag);
            }
        }
    }

    private function emit(string $raw, int $flag): void
    {
        if ($this->left < 0) {
            return;
        }
        if (\strlen($raw) > $this->left) {
            $raw = \substr($raw, 0, $this->left + 1);
            for ($end = $this->left; $end > 0 && (\ord($raw[$end]) & 0xc0) === 0x80; $end--); // not within a character
            $raw = \substr($raw, 0, $end);
            $flag |= LOG_CUT;
            $this->left = -1;
        } else {
            $this->left -= \strlen($raw);
        }
        $this->channel->send(LOG, $this->callId, $raw, $flag);
    }
}

/** Lines of a call's log, marked with their level. */
final class Logger
{
    public function __construct(private CallLog $log)
    {
    }

    public function debug(string|\Stringable $message): void
    {
        $this->write('DEBUG', $message);
    }

    public function info(string|\Stringable $message): void
    {
        $this->write('INFO', $message);
    }

    public function warning(string|\Stringable $message): void
    {
        $this->write('WARNING', $message);
    }

    public function error(string|\Stringable $message): void
    {
        $this->write('ERROR', $message);
    }

    private function write(string $level, string|\Stringable $message): void
    {
        $this->log->write("$level $message\n", LOG_STDERR);
    }
}

/** The W3C trace context of one call. */
final class Trace
{
    public readonly string $traceparent;

    public function __construct(public readonly string $trace_id, public readonly string $span_id)
    {
        $this->traceparent = "00-$trace_id-$span_id-01";
    }
}

/** The second argument of a handler. `deadline` is in Unix seconds. */
final class Context
{
    public readonly string $request_id, $function_name, $function_version, $tenant, $namespace;
    public readonly int $memory_limit_mb;
    public readonly float $deadline;
    public readonly Trace $trace;
    public readonly Logger $logger;
    private int $until;

    public function __construct(Init $init, string $head, CallLog $log)
    {
        $hex = \bin2hex(\substr($head, 0, 40));
        $remaining = \unpack('N', $head, 40)[1];
        $this->request_id = \preg_replace('/^(.{8})(.{4})(.{4})(.{4})(.{12}).*/', '$1-$2-$3-$4-$5', $hex);
        foreach (['function_name', 'function_version', 'tenant', 'namespace', 'memory_limit_mb'] as $name) {
            $this->$name = $init->$name;
        }
        $this->deadline = \microtime(true) + $remaining / 1000;
        $this->trace = new Trace(\substr($hex, 32, 32), \substr($hex, 64, 16));
        $this->logger = new Logger($log);
        $this->until = \hrtime(true) + $remaining * 1_000_000;
    }

    /** Milliseconds until the platform ends this call; never below 0. */
    public function remaining_ms(): int
    {
        return \max(0, \intdiv($this->until - \hrtime(true), 1_000_000));
    }
}

// --- what a handler gives

function encode_output(mixed $value): string
{
    try {
        $raw = \json_encode($value, JSON_OUT);
    } catch (\JsonException $error) {
        throw new \TypeError('the output is not JSON: ' . $error->getMessage());
    }
    if (\strlen($raw) > MAX_BODY_BYTES) {
        throw new OutputTooLarge('the output has ' . \strlen($raw) . ' bytes; at most ' . MAX_BODY_BYTES . ' are carried');
    }
    return $raw;
}

function encode_error(\Throwable $error): string
{
    $stack = user_stack($error);
    for ($cause = $error->getPrevious(), $depth = 0; $cause !== null && $depth < 8; $cause = $cause->getPrevious(), $depth++) {
        $stack .= "\nCaused by: " . user_stack($cause);
    }
    if (\strlen($stack) > MAX_STACK_BYTES) {
        $stack = \substr($stack, 0, MAX_STACK_BYTES >> 1) . "\n...\n" . \substr($stack, -(MAX_STACK_BYTES >> 1));
    }
    $type = \preg_replace('/^' . \preg_quote(__NAMESPACE__) . '\\\\/', '', $error::class);
    return facts($type, $error->getMessage(), $stack);
}

function facts(string $type, string $message, string $stack): string
{
    $facts = ['type' => $type, 'message' => \substr($message, 0, MAX_MESSAGE_BYTES), 'stack' => $stack];
    return \json_encode($facts, JSON_OUT | \JSON_INVALID_UTF8_SUBSTITUTE);
}

/** The part of a stack that is user code: everything above the first frame of ours. */
function user_stack(\Throwable $error): string
{
    $lines = [$error::class . ': ' . $error->getMessage()];
    if ($error->getFile() !== __FILE__) {
        $lines[] = '    at ' . $error->getFile() . ':' . $error->getLine();
    }
    foreach ($error->getTrace() as $frame) {
        if (($frame['file'] ?? '') === __FILE__) {
            break;
        }
        $name = ($frame['class'] ?? '') . ($frame['type'] ?? '') . $frame['function'];
        $lines[] = "    in $name, called at " . ($frame['file'] ?? '[internal]') . ':' . ($frame['line'] ?? 0);
    }
    return \implode("\n", $lines);
}

final class Worker
{
    private Channel $channel;
    private CallLog $ambient, $log;
    private ?Init $init = null;
    private $handler = null;
    private bool $isLoading = false;

    public function __construct()
    {
        $this->channel = new Channel(3);
        $this->log = $this->ambient = new CallLog($this->channel, 0, 64 << 10);
    }

    public function serve(): never
    {
        $this->channel->send(HELLO, 0, field(1, PROTOCOL) . field(2, 'php') . field(3, \PHP_VERSION));
        \ob_start(function (string $text): string {
            $this->log->write($text, 0);
            return '';
        }, 1, \PHP_OUTPUT_HANDLER_FLUSHABLE);
        \register_shutdown_function($this->shutDown(...)); // exit, and errors that PHP lets nobody catch
        while (true) {
            [$kind, $callId, $body] = $this->channel->receive();
            if ($kind === EXEC && $this->handler !== null) {
                $this->call($callId, $body);
            } elseif ($kind === INIT && $this->init === null) {
                $this->load(new Init($body));
            } elseif ($kind === PING) {
                $this->channel->send(PONG, $callId, $body);
            } elseif ($kind === STOP) {
                exit(0);
            } elseif ($kind !== CANCEL) {
                exit(1);
            }
        }
    }

    private function load(Init $init): void
    {
        $this->init = $init;
        $this->log = $this->ambient = new CallLog($this->channel, 0, $init->log_limit_bytes);
        foreach ($init->env as $name => $value) {
            \putenv("$name=$value");
            $_ENV[$name] = $_SERVER[$name] = $value;
        }
        $this->isLoading = true;
        try {
            $handler = find_handler($init);
        } catch (\Throwable $error) {
            $this->isLoading = false;
            $this->log->flush();
            $this->channel->send(READY, 0, field(2, encode_error($error)));
            exit(1);
        }
        $this->isLoading = false;
        $this->handler = $handler;
        $this->log->flush();
        $this->channel->send(READY, 0, field(1, 1));
    }

    private function call(int $callId, string $body): void
    {
        $this->log = new CallLog($this->channel, $callId, $this->init->log_limit_bytes);
        try {
            [$kind, $answer] = [RESULT, $this->outcome($callId, $body)];
        } catch (\Throwable $error) {
            [$kind, $answer] = [ERROR, encode_error($error)];
        }
        while (\ob_get_level() > 1) {
            \ob_end_flush(); // what the handler began to buffer and did not end
        }
        $this->log->flush();
        $this->log = new CallLog($this->channel, 0, $this->init->log_limit_bytes);
        $this->channel->send($kind, $callId, $answer);
    }

    private function outcome(int $callId, string $body): string
    {
        $event = \strlen($body) > EXEC_HEAD_BYTES
            ? \json_decode(\substr($body, EXEC_HEAD_BYTES), true, 512, \JSON_THROW_ON_ERROR)
            : null;
        $streamed = \unpack('N', $body, 44)[1] & EXEC_STREAM;
        $value = ($this->handler)($event, new Context($this->init, $body, $this->log));
        $pieces = $value instanceof \Iterator ? $value : null;
        if (!$streamed) {
            return encode_output($pieces !== null ? \iterator_to_array($pieces, false) : $value);
        }
        foreach ($pieces ?? [$value] as $piece) {
            $raw = \is_string($piece) ? $piece : encode_output($piece);
            for ($at = 0; $at < \strlen($raw); $at += CHUNK_BYTES) {
                $this->channel->send(CHUNK, $callId, \substr($raw, $at, CHUNK_BYTES));
            }
        }
        return '';
    }

    private function shutDown(): void
    {
        $error = \error_get_last();
        $this->log->flush();
        if ($this->isLoading && $error !== null && ($error['type'] & FATAL)) {
            $at = "{$error['file']}:{$error['line']}";
            $this->channel->send(READY, 0, field(2, facts('FatalError', $error['message'], "FatalError: {$error['message']}\n    at $at")));
        }
    }
}

function find_handler(Init $init): callable
{
    $dot = \strrpos($init->handler, '.');
    if ($dot === false || $dot === 0 || $dot === \strlen($init->handler) - 1) {
        throw new \ValueError("the handler '$init->handler' must look like \"file.function\"");
    }
    $path = $init->code_dir . '/' . \strtr(\substr($init->handler, 0, $dot), '.', '/') . '.php';
    if (!\is_file($path)) {
        throw new \RuntimeException("there is no $path");
    }
    \set_include_path(\implode(\PATH_SEPARATOR, [$init->code_dir, "$init->code_dir/vendor", "$init->code_dir/deps", '/opt/php', \get_include_path()]));
    foreach (["$init->code_dir/vendor", "$init->code_dir/deps", '/opt/php'] as $place) { // the last is of layers
        if (\is_file("$place/autoload.php")) { // Composer's
            load_file("$place/autoload.php");
        }
    }
    load_file($path);
    $name = \substr($init->handler, $dot + 1);
    if (!\function_exists($name)) {
        throw new \RuntimeException(\basename($path) . " defines no function $name");
    }
    return $name;
}

function load_file(string $path): void
{
    require_once $path;
}

(new Worker())->serve();
