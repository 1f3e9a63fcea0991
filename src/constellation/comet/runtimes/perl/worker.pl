# The Perl worker: reads the frames of proto/agent.proto on descriptor 3, calls the handler, answers each exec frame with
# exactly one result or error frame. Calls come one after the other.

package ConstellationWorker;

use v5.36;
use experimental 'builtin';
use builtin 'blessed';
use Time::HiRes ();

our $OUR_DIR;
BEGIN { $OUR_DIR = __FILE__ =~ s{[^/]+\z}{}r; require "${OUR_DIR}Json.pm" }

use constant {
    HELLO => 1, BEGIN_WITH => 2, READY => 3, EXEC => 4, RESULT => 5, ERROR => 6, CHUNK => 7, LOG => 8, CANCEL => 9, PING => 10,
    PONG => 11, STOP => 12, LOG_STDERR => 1, LOG_CUT => 2, PROTOCOL => 1, HEADER_BYTES => 12, EXEC_HEAD_BYTES => 48,
    EXEC_STREAM => 1,
    MAX_BODY_BYTES => 6 << 20,    # of an event and of an output; the platform's limit for a synchronous call
    MAX_MESSAGE_CHARS => 8 << 10, MAX_STACK_CHARS => 32 << 10, MAX_STACK_FRAMES => 64, CHUNK_BYTES => 1 << 20,
    LINE_BYTES => 4 << 10,        # a longer line is sent in pieces
};
use constant { F_SETFD => 2, FD_CLOEXEC => 1 };    # of Linux; the module Fcntl takes longer to load than this worker

my ($channel, $init, $handler, @died);
my $process = $$;
my $log     = ConstellationWorker::Log->new(0, 64 << 10);

# --- frames

sub send_frame ($kind, $call_id, $body = '', $flags = 0) {
    return if $$ != $process;                       # in a child that user code forked: what it says is not ours to say
    my $frame = pack('NCCnN', length $body, $kind, $flags, 0, $call_id) . $body;
    for (my $at = 0; $at < length $frame;) {
        my $sent = syswrite $channel, $frame, length($frame) - $at, $at;
        $sent ? ($at += $sent) : $!{EINTR} ? next : end_process(1);
    }
}

sub read_bytes ($count) {
    my $data = '';
    while (length $data < $count) {
        my $got = sysread $channel, $data, $count - length $data, length $data;
        $got ? next : !defined $got && $!{EINTR} ? next : end_process(0);
    }
    return $data;
}

sub receive_frame {
    end_process(0) if $$ != $process;
    # Who sleeps in read() of a unix socket is also woken when the host has taken what was written; in select() for what it
    # asks for only.
    vec(my $news = '', fileno $channel, 1) = 1;
    select $news, undef, undef, undef;
    my ($length, $kind, undef, undef, $call_id) = unpack 'NCCnN', read_bytes(HEADER_BYTES);
    end_process(1) if $length > MAX_BODY_BYTES + EXEC_HEAD_BYTES;
    return ($kind, $call_id, read_bytes($length));
}

sub end_process ($status) {
    $log->flush;
    exit $status;
}

# --- protobuf's wire format, as much of it as Hello, Init and Ready need

sub varint ($value) {
    my $out = '';
    for (; $value > 0x7f; $value >>= 7) { $out .= chr($value & 0x7f | 0x80) }
    return $out . chr $value;
}

sub field ($number, $value) { varint($number << 3 | 2) . varint(length $value) . $value }

sub field_number ($number, $value) { varint($number << 3) . varint($value) }

sub fields ($data) {
    my ($at, @found) = (0);
    my $read = sub {
        my $value = my $shift = 0;
        while (1) {
            my $byte = ord substr $data, $at++, 1;
            $value |= ($byte & 0x7f) << $shift;
            return $value if $byte < 0x80;
            $shift += 7;
        }
    };
    while ($at < length $data) {
        my $tag = $read->();
        if (($tag & 7) == 0) { push @found, [$tag >> 3, $read->()] }
        elsif (($tag & 7) == 2) {
            my $size = $read->();
            push @found, [$tag >> 3, substr $data, $at, $size];
            $at += $size;
        }
        else { die 'unexpected protobuf wire type ' . ($tag & 7) }
    }
    return @found;
}

sub parse_init ($data) {
    my %out = (code_dir => '/code', concurrency => 1, env => {}, log_limit_bytes => 64 << 10, memory_limit_mb => 0);
    $out{$_} = '' for qw(handler function_name function_version tenant namespace);
    my %names = (
        1 => 'handler', 2 => 'function_name', 3 => 'function_version', 4 => 'tenant', 5 => 'namespace',
        6 => 'memory_limit_mb', 7 => 'concurrency', 9 => 'code_dir', 10 => 'log_limit_bytes',
    );
    for (fields($data)) {
        my ($number, $value) = @$_;
        if    ($names{$number}) { utf8::decode($value); $out{ $names{$number} } = $value }
        elsif ($number == 8) {
            my %entry = (1 => '', 2 => '', map { @$_ } fields($value));
            $out{env}{ $entry{1} } = $entry{2};
        }
    }
    return \%out;
}

# --- what a handler gives

sub encode_output ($value) {
    my $raw = ConstellationWorker::Json::encode($value);
    die 'the output has ' . length($raw) . ' bytes; at most ' . MAX_BODY_BYTES . " are carried\n" if length $raw > MAX_BODY_BYTES;
    return $raw;
}

# Text as UTF-8; what holds bytes alone stays as it is.
sub bytes_of ($text) {
    utf8::encode($text) if utf8::is_utf8($text);
    return $text;
}

sub encode_error ($error) {
    my $type    = blessed($error) // 'Error';
    my $message = eval { blessed($error) && $error->can('message') ? $error->message : "$error" } // '<the exception has no readable message>';
    utf8::decode($message) unless utf8::is_utf8($message);
    my ($text, @frames) = @died;
    @frames = () unless defined $text && !ref $error && $text eq $error || ref $error && ref $text && $text == $error;
    chomp(my $line = $message);
    my $stack = join "\n", "$type: $line", map { "    at $_" } @frames[0 .. ($#frames < MAX_STACK_FRAMES ? $#frames : MAX_STACK_FRAMES - 1)];
    return ConstellationWorker::Json::encode(
        { type => $type, message => substr($line, 0, MAX_MESSAGE_CHARS), stack => substr($stack, 0, MAX_STACK_CHARS) });
}

# A die hook: the frames of user code, from where it died upwards. Perl has forgotten them once the error is caught.
sub remember ($error) {
    my @frames;
    for (my $depth = 0; my ($package, $file, $line) = caller $depth; $depth++) {
        last if index($file, $OUR_DIR) == 0;
        my (undef, undef, undef, $inside) = caller $depth + 1;
        push @frames, "$file:$line" . ($inside && $inside ne '(eval)' ? " in $inside" : '');
    }
    @died = ($error, @frames);
    die $error;
}

# --- calls

sub load_function ($body) {
    $init = parse_init($body);
    $log  = ConstellationWorker::Log->new(0, $init->{log_limit_bytes});
    tie *STDOUT, 'ConstellationWorker::Stream', 0;
    tie *STDERR, 'ConstellationWorker::Stream', LOG_STDERR;
    $ENV{$_} = $init->{env}{$_} for keys %{ $init->{env} };
    my $code = $init->{code_dir};
    # A directory of modules, and what cpanm -L and Carton make of one; the last is of layers.
    unshift @INC, $code, "$code/lib", map { ($_, "$_/lib/perl5") } map({ "$code/$_" } qw(vendor deps local)), '/opt/perl';
    @died = ();
    my $error = eval { local $SIG{__DIE__} = \&remember; $handler = find_handler($init); 1 } ? undef : $@;
    $log->flush;
    if (defined $error) {
        send_frame(READY, 0, field(2, encode_error($error)));
        end_process(1);
    }
    send_frame(READY, 0, field_number(1, 1));
}

sub find_handler ($init) {
    my ($file, $name) = $init->{handler} =~ /\A(.+)\.([^.]+)\z/ or die "the handler '$init->{handler}' must look like \"file.function\"\n";
    $file =~ tr{.}{/};
    my ($path) = grep { -f } "$init->{code_dir}/$file.pl", "$init->{code_dir}/$file.pm" or die "there is no $init->{code_dir}/$file.pl or .pm\n";
    package main {
        local ($@, $!, $0) = ('', 0, $path);
        my $loaded = do $path;
        die $@                              if $@;
        die "$path can not be read: $!\n"   if !defined $loaded && $!{EACCES};
    }
    my $found = main->can($name) or die "$file defines no sub $name in package main\n";
    return $found;
}

sub call ($call_id, $body) {
    $log  = ConstellationWorker::Log->new($call_id, $init->{log_limit_bytes});
    @died = ();
    my ($kind, $answer) = (RESULT);
    my $is_done = eval { local $SIG{__DIE__} = \&remember; $answer = outcome($call_id, $body); 1 };
    ($kind, $answer) = (ERROR, encode_error($@)) unless $is_done;
    $log->flush;
    $log = ConstellationWorker::Log->new(0, $init->{log_limit_bytes});
    send_frame($kind, $call_id, $answer);
}

sub outcome ($call_id, $body) {
    my $event    = length $body > EXEC_HEAD_BYTES ? ConstellationWorker::Json::decode(substr $body, EXEC_HEAD_BYTES) : undef;
    my $streamed = unpack('N', substr $body, 44, 4) & EXEC_STREAM;
    my $value    = $handler->($event, ConstellationWorker::Context->new($init, $body));
    if (ref $value eq 'CODE') {    # an iterator: called until it has nothing more
        my @pieces;
        while (defined(my $piece = $value->())) { $streamed ? chunk($call_id, $piece) : push @pieces, $piece }
        return $streamed ? '' : encode_output(\@pieces);
    }
    return encode_output($value) unless $streamed;
    chunk($call_id, $value);
    return '';
}

sub chunk ($call_id, $piece) {
    my $raw = defined $piece && !ref $piece ? bytes_of("$piece") : encode_output($piece);
    for (my $at = 0; $at < length $raw; $at += CHUNK_BYTES) { send_frame(CHUNK, $call_id, substr $raw, $at, CHUNK_BYTES) }
}

sub serve {
    open $channel, '+<&=', 3 or exit 1;
    binmode $channel;
    fcntl $channel, F_SETFD, FD_CLOEXEC;
    my $version = sprintf '%vd', $^V;
    send_frame(HELLO, 0, field_number(1, PROTOCOL) . field(2, 'perl') . field(3, $version));
    while (1) {
        my ($kind, $call_id, $body) = receive_frame();
        if    ($kind == EXEC && $handler) { call($call_id, $body) }
        elsif ($kind == BEGIN_WITH && !$init)   { load_function($body) }
        elsif ($kind == PING)             { send_frame(PONG, $call_id, $body) }
        elsif ($kind == STOP)             { end_process(0) }
        elsif ($kind != CANCEL)           { end_process(1) }
    }
}

END { $log->flush }    # exit in a handler

# One call's printed output on its way to the host, bounded; id 0 is what no call printed.
package ConstellationWorker::Log {

    sub new ($class, $call_id, $left) { bless { id => $call_id, left => $left, open => ['', ''] }, $class }

    sub write ($self, $text, $flag) {
        return if $self->{left} < 0;
        my $all  = $self->{open}[$flag] . $text;
        my $size = 1 + rindex $all, "\n";
        $size = length $all if !$size && length $all > ConstellationWorker::LINE_BYTES;
        $self->{open}[$flag] = substr $all, $size;
        $self->emit(substr($all, 0, $size), $flag) if $size;
    }

    sub flush ($self) {
        for my $flag (0, ConstellationWorker::LOG_STDERR) {
            my $text = $self->{open}[$flag];
            $self->{open}[$flag] = '';
            $self->emit($text, $flag) if length $text;
        }
    }

    sub emit ($self, $raw, $flag) {
        return if $self->{left} < 0;
        if (length $raw > $self->{left}) {
            my $end = $self->{left};
            $end-- while $end > 0 && (ord(substr $raw, $end, 1) & 0xc0) == 0x80;    # not within a character
            $raw = substr $raw, 0, $end;
            $flag |= ConstellationWorker::LOG_CUT;
            $self->{left} = -1;
        }
        else { $self->{left} -= length $raw }
        ConstellationWorker::send_frame(ConstellationWorker::LOG, $self->{id}, $raw, $flag);
    }
}

# STDOUT and STDERR of the function: text goes to the log of the call that printed it.
package ConstellationWorker::Stream {

    sub TIEHANDLE ($class, $flag) { bless \$flag, $class }

    sub PRINT ($self, @parts) {
        $log->write(ConstellationWorker::bytes_of(join($, // '', @parts) . ($\ // '')), $$self);
        return 1;
    }
    sub PRINTF ($self, $format, @values) { local ($,, $\); $self->PRINT(sprintf $format, @values) }

    sub WRITE ($self, $data, $length = length $data, $offset = 0) {
        my $part = substr $data, $offset, $length;
        $log->write(ConstellationWorker::bytes_of($part), $$self);
        return length $part;
    }
    sub BINMODE { 1 }
    sub FILENO ($self) { $$self + 1 }
    sub CLOSE { 1 }
    sub OPEN  { 1 }
}

# The second argument of a handler. `deadline` is in Unix seconds.
package ConstellationWorker::Context {

    sub new ($class, $init, $head) {
        my $hex       = unpack 'H80', $head;
        my $remaining = unpack 'N', substr $head, 40, 4;
        my ($trace_id, $span_id) = (substr($hex, 32, 32), substr $hex, 64, 16);
        my %facts = (
            request_id => join('-', unpack 'A8 A4 A4 A4 A12', $hex),
            deadline   => Time::HiRes::time() + $remaining / 1000,
            trace      => { trace_id => $trace_id, span_id => $span_id, traceparent => "00-$trace_id-$span_id-01" },
            until      => Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) + $remaining / 1000,
        );
        $facts{$_} = $init->{$_} for qw(function_name function_version tenant namespace);
        $facts{memory_limit_mb} = 0 + $init->{memory_limit_mb};
        return bless \%facts, $class;
    }
    for my $name (qw(request_id function_name function_version tenant namespace memory_limit_mb deadline trace)) {
        no strict 'refs';
        *$name = sub ($self) { $self->{$name} };
    }

    # Milliseconds until the platform ends this call; never below 0.
    sub remaining_ms ($self) {
        my $left = int(($self->{until} - Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC())) * 1000);
        return $left > 0 ? $left : 0;
    }
    sub logger ($self) { bless {}, 'ConstellationWorker::Logger' }
}

# Lines of the call's log, marked with their level.
package ConstellationWorker::Logger {
    for my $level (qw(debug info warn error)) {
        no strict 'refs';
        *$level = sub ($self, @parts) {
            $log->write(ConstellationWorker::bytes_of(join '', uc $level, ' ', @parts, "\n"), ConstellationWorker::LOG_STDERR);
        };
    }
}

ConstellationWorker::serve();
