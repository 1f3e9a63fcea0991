package ConstellationWorker::Json;

# JSON to Perl and back. JSON::PP, which every Perl has, takes eight times as long; JSON::XS is not everywhere. Truth is
# Perl's own (since 5.36 a scalar knows whether it is one), numbers are what was created as a number.

use v5.36;
use experimental 'builtin';
use builtin qw(created_as_number is_bool reftype blessed);

my $MAX_DEPTH = 100;    # chosen: far more than data has, far less than the stack holds
my %UNESCAPED = ('"' => '"', '\\' => '\\', '/' => '/', b => "\b", f => "\f", n => "\n", r => "\r", t => "\t");
my %ESCAPED   = ('"' => '\\"', '\\' => '\\\\', "\b" => '\\b', "\f" => '\\f', "\n" => '\\n', "\r" => '\\r', "\t" => '\\t');

sub decode ($raw) {
    utf8::decode($raw) or die "the event is not UTF-8\n";
    pos($raw) = 0;
    my $value = _value(\$raw, 0);
    $raw =~ /\G[ \t\r\n]*\z/gc or _unexpected(\$raw);
    return $value;
}

sub _unexpected ($text) { die 'the event is not JSON at character ' . (pos($$text) // 0) . "\n" }

sub _value ($text, $depth) {
    $$text =~ /\G[ \t\r\n]+/gc;
    return _string($text)                if $$text =~ /\G"/gc;
    return 0 + $1                        if $$text =~ /\G(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)/gc;
    return $1 eq 'true' ? !!1 : !!0      if $$text =~ /\G(true|false)/gc;
    return undef                         if $$text =~ /\Gnull/gc;
    _unexpected($text)                   if $depth > 512;
    if ($$text =~ /\G\[[ \t\r\n]*/gc) {
        my @items;
        return \@items if $$text =~ /\G\]/gc;
        while (1) {
            push @items, _value($text, $depth + 1);
            next         if $$text =~ /\G[ \t\r\n]*,/gc;
            return \@items if $$text =~ /\G[ \t\r\n]*\]/gc;
            _unexpected($text);
        }
    }
    if ($$text =~ /\G\{[ \t\r\n]*/gc) {
        my %items;
        return \%items if $$text =~ /\G\}/gc;
        while (1) {
            $$text =~ /\G[ \t\r\n]*"/gc or _unexpected($text);
            my $key = _string($text);
            $$text =~ /\G[ \t\r\n]*:/gc or _unexpected($text);
            $items{$key} = _value($text, $depth + 1);
            next           if $$text =~ /\G[ \t\r\n]*,/gc;
            return \%items if $$text =~ /\G[ \t\r\n]*\}/gc;
            _unexpected($text);
        }
    }
    _unexpected($text);
}

sub _string ($text) {
    $$text =~ /\G([^"\\\x00-\x1f]*)/gc;
    my $string = $1;
    until ($$text =~ /\G"/gc) {
        if    ($$text =~ /\G\\(["\\\/bfnrt])/gc) { $string .= $UNESCAPED{$1} }
        elsif ($$text =~ /\G\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})/gc) {
            $string .= chr(0x10000 + ((hex($1) & 0x3ff) << 10) + (hex($2) & 0x3ff));
        }
        elsif ($$text =~ /\G\\u([0-9a-fA-F]{4})/gc) { $string .= chr(hex $1) }
        else                                        { _unexpected($text) }
        $string .= $1 if $$text =~ /\G([^"\\\x00-\x1f]+)/gc;
    }
    return $string;
}

# Return a value as JSON in UTF-8; die with the place of what JSON can not hold.
sub encode ($value) {
    my $out = _encoded($value, '$', 0);
    utf8::encode($out);
    return $out;
}

sub _quoted ($string) {
    $string =~ s/(["\\\x00-\x1f])/$ESCAPED{$1} \/\/ sprintf '\\u%04x', ord $1/ge;
    # What Unicode does not have: half a pair stays as it was escaped, and what lies above it becomes a mark of its loss.
    $string =~ s/([\x{d800}-\x{dfff}]|[^\x00-\x{10ffff}])/sprintf '\\u%04x', ord $1 > 0xffff ? 0xfffd : ord $1/ge
        if utf8::is_utf8($string) && $string =~ /[^\x00-\x{d7ff}]/;
    return "\"$string\"";
}

sub _encoded ($value, $place, $depth) {
    return 'null' unless defined $value;
    if (!ref $value) {
        return $value ? 'true' : 'false' if is_bool($value);
        return _quoted($value) unless created_as_number($value);
        return "$value" if $value =~ /\A-?[0-9]/ && $value !~ /[a-df-z]/i;
        die "the output is not JSON: $place is $value\n";
    }
    die 'the output is not JSON: ' . substr($place, 0, 200) . " is nested too deeply or holds itself\n" if $depth >= $MAX_DEPTH;
    my $kind = reftype $value;
    if (blessed $value) {
        return _encoded($value->TO_JSON, $place, $depth + 1) if $value->can('TO_JSON');
        die "the output is not JSON: $place is a " . ref($value) . "\n";
    }
    if ($kind eq 'HASH') {
        return '{' . join(',', map { _quoted($_) . ':' . _encoded($value->{$_}, "$place.$_", $depth + 1) } sort keys %$value) . '}';
    }
    if ($kind eq 'ARRAY') {
        my $at = 0;
        return '[' . join(',', map { _encoded($_, $place . '[' . $at++ . ']', $depth + 1) } @$value) . ']';
    }
    return $$value ? 'true' : 'false' if $kind eq 'SCALAR' && defined $$value && $$value =~ /\A[01]\z/;    # \1 and \0
    die "the output is not JSON: $place is a reference to $kind\n";
}

1;
