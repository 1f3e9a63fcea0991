#include "h2/limits.h"

static const uint64_t SECOND_NS = 1000000000;

/* chosen, where nothing else is said */
ct__h2_limits ct__h2_limits_filled(const ct__h2_limits *limits) {
    ct__h2_limits l = *limits;
    if (l.message_bytes == 0)
        l.message_bytes = (6U << 20) + (64U << 10); /* the platform's largest payload, and what surrounds it */
    if (l.held_bytes == 0)
        l.held_bytes = 256U << 20;
    if (l.session_bytes == 0)
        l.session_bytes = 32U << 20;
    if (l.sessions_bytes == 0)
        l.sessions_bytes = 512U << 20;
    if (l.streams == 0)
        l.streams = 1024;
    if (l.connections == 0)
        l.connections = 4096;
    if (l.upstreams == 0)
        l.upstreams = 128; /* times the 100 streams that a Python server allows on each */
    if (l.body_ns == 0)
        l.body_ns = 30 * SECOND_NS;
    if (l.greeting_ns == 0)
        l.greeting_ns = 10 * SECOND_NS;
    if (l.stall_ns == 0)
        l.stall_ns = 60 * SECOND_NS;
    if (l.idle_ns == 0)
        l.idle_ns = 600 * SECOND_NS;
    if (l.ping_after_ns == 0)
        l.ping_after_ns = 15 * SECOND_NS;
    if (l.ping_ns == 0)
        l.ping_ns = 10 * SECOND_NS;
    if (l.backoff_ns == 0)
        l.backoff_ns = SECOND_NS / 50;
    if (l.backoff_max_ns == 0)
        l.backoff_max_ns = SECOND_NS;
    return l;
}
