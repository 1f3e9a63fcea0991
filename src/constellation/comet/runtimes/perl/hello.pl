use strict;
use warnings;

sub handler {
    my ($event, $context) = @_;
    my $name = $event->{name} // 'world';
    return { message => "Hello, $name!" };
}

1;
