# @name@: called with the request's JSON; what it returns becomes the answer's `output`.

use strict;
use warnings;

sub handler {
    my ($event, $context) = @_;
    my $name = $event->{name} // 'world';
    print "greeting $name\n";    # shown by `orbit logs @name@`
    return { message => "Hello, $name!" };
}

1;
