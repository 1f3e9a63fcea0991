use strict;
use warnings;

my $line = qr{
    ^ (?<client> \S+ ) \s \S+ \s \S+ \s \[ [^\]]+ \] \s
    "(?<method> [A-Z]+ ) \s (?<path> [^\s?"]+ ) [^"]* " \s (?<status> \d{3} ) \s (?<bytes> \d+ | - )
}x;

# Sums up lines of a web server's log: how many of each status, the busiest paths, who met most errors.
sub handler {
    my ($event, $context) = @_;
    my (%statuses, %paths, %failing, $bytes, $unread);
    for (split /\n/, $event->{text}) {
        if (!/$line/) { $unread++; next }
        $statuses{ substr($+{status}, 0, 1) . 'xx' }++;
        $paths{ $+{path} }++;
        $failing{ $+{client} }++ if $+{status} >= 500;
        $bytes += $+{bytes} if $+{bytes} ne '-';
    }
    my @busiest = sort { $paths{$b} <=> $paths{$a} || $a cmp $b } keys %paths;
    $context->logger->info("$unread lines were not understood") if $unread;
    return {
        statuses => \%statuses,
        bytes    => ($bytes // 0) + 0,
        busiest  => [ map { { path => $_, count => $paths{$_} } } grep { defined } @busiest[ 0 .. 2 ] ],
        failing  => [ sort keys %failing ],
        unread   => ($unread // 0) + 0,
    };
}

1;
