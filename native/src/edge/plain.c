#include "edge/plain.h"

#include "edge/bytes_of_http.h"

#include <string.h>

enum { NAME_BYTES = 64, QUALIFIER_BYTES = 128, STICKY_BYTES = 128, CHAIN_BYTES = 4096, CHAIN_NAMES = 64, NUMBER_DIGITS = 15 };

static bool is_name_byte(uint8_t byte) {
    const uint8_t letter = byte | 0x20;
    return (letter >= 'a' && letter <= 'z') || (byte >= '0' && byte <= '9') || byte == '_' || byte == '-';
}

static bool ends_with(ct__span text, const char *end, size_t len) {
    return text.len >= len && memcmp(text.at + text.len - len, end, len) == 0;
}

/* POST [/v1]/functions/{name}/invoke or .../invoke-stream */
static bool read_target(ct__span target, ct__span *name, bool *is_stream) {
    static const char BEGIN[] = "/functions/", END[] = "/invoke", STREAM[] = "-stream";
    if (target.len > 4 && memcmp(target.at, "/v1/", 4) == 0)
        target = (ct__span){target.at + 3, target.len - 3};
    *is_stream = ends_with(target, STREAM, sizeof STREAM - 1);
    if (*is_stream)
        target.len -= sizeof STREAM - 1;
    const size_t around = sizeof BEGIN - 1 + sizeof END - 1;
    if (target.len <= around || target.len > around + NAME_BYTES || memcmp(target.at, BEGIN, sizeof BEGIN - 1) != 0
        || !ends_with(target, END, sizeof END - 1))
        return false;
    *name = (ct__span){target.at + sizeof BEGIN - 1, target.len - around};
    for (size_t i = 0; i < name->len; i++)
        if (!is_name_byte(name->at[i]))
            return false;
    return true;
}

/* A UUID in its one usual form, told in lower case. Another text of this length may be a UUID to Python. */
static bool read_uuid(ct__span text, char *out) {
    for (size_t i = 0; i < CT__UUID_BYTES; i++) {
        const bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        const uint8_t byte = text.at[i];
        if (is_dash ? byte != '-' : (ct__http_bytes[byte] & CT__IN_HEX) == 0)
            return false;
        out[i] = (char)(byte >= 'A' && byte <= 'F' ? byte | 0x20 : byte);
    }
    return true;
}

static bool is_trace(ct__span text) {
    if (text.len != 55)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t byte = text.at[i];
        const bool is_dash = i == 2 || i == 35 || i == 52;
        if (is_dash ? byte != '-' : !((byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f')))
            return false;
    }
    return true;
}

/* Digits, perhaps a point and digits: few enough that one division gives the nearest double, as Python's float() does. */
static bool read_timeout(ct__span text, uint64_t max_ns, ct__plain *out) {
    uint64_t number = 0;
    size_t digits = 0, behind = 0;
    bool has_point = false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == '.' && !has_point && digits > 0) {
            has_point = true;
            continue;
        }
        if ((ct__http_bytes[text.at[i]] & CT__IN_DIGIT) == 0 || ++digits > NUMBER_DIGITS)
            return false;
        number = number * 10 + (uint64_t)(text.at[i] - '0');
        behind += has_point ? 1 : 0;
    }
    if (digits == 0 || (has_point && behind == 0))
        return false;
    double power = 1;
    for (size_t i = 0; i < behind; i++)
        power *= 10;
    const double seconds = (double)number / power;
    if (!(seconds > 0) || seconds > (double)max_ns / 1e9)
        return false;
    const double ms = seconds * 1000;
    const uint32_t whole = (uint32_t)ms;
    const double rest = ms - whole;
    const bool rises = rest > 0.5 || (rest == 0.5 && whole % 2 == 1); /* from the middle to even, as Python's round() */
    out->timeout_ms = whole + (rises ? 1 : 0);
    if (out->timeout_ms == 0)
        out->timeout_ms = 1;
    out->timeout_ns = (uint64_t)(seconds * 1e9);
    return true;
}

static bool is_chain(ct__span text) {
    if (text.len > CHAIN_BYTES)
        return false;
    size_t names = 1;
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t byte = text.at[i];
        const bool is_comma = byte == ',';
        if (is_comma && (i == 0 || i + 1 == text.len || text.at[i - 1] == ','))
            return false;
        names += is_comma ? 1 : 0;
        if (!is_comma && !is_name_byte(byte) && byte != '.' && byte != ':' && byte != '/')
            return false;
    }
    return names <= CHAIN_NAMES;
}

static bool is_visible(ct__span text) {
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] < 0x20 || text.at[i] >= 0x7F)
            return false;
    return true;
}

/* Headers that count here, each once. */
enum { KEY, AUTHORIZATION, TENANT, SPACE, REQUEST, TRACE, TIMEOUT, DEPTH, CHAIN, QUALIFIER, STICKY, COOKIE, KIND, TYPE, IDEMPOTENCY, HEADERS };

typedef struct seen {
    ct__span values[HEADERS];
    bool has[HEADERS];
} seen;

static int which(ct__span name) {
    static const struct {
        const char *name;
        int which;
    } KNOWN[] = {
        {"x-api-key", KEY},
        {"authorization", AUTHORIZATION},
        {"x-nova-tenant", TENANT},
        {"x-nova-namespace", SPACE},
        {"x-request-id", REQUEST},
        {"traceparent", TRACE},
        {"x-nova-timeout-s", TIMEOUT},
        {"x-nova-call-depth", DEPTH},
        {"x-nova-call-chain", CHAIN},
        {"x-nova-qualifier", QUALIFIER},
        {"x-nova-sticky", STICKY},
        {"cookie", COOKIE},
        {"x-nova-invocation-type", KIND},
        {"content-type", TYPE},
        {"idempotency-key", IDEMPOTENCY},
    };
    const uint8_t first = name.at[0] | 0x20;
    if (first != 'x' && first != 'a' && first != 't' && first != 'c' && first != 'i')
        return HEADERS;
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (ct__span_like(name, KNOWN[i].name))
            return KNOWN[i].which;
    return HEADERS;
}

static bool is_others_hand(ct__span name) {
    const uint8_t first = name.at[0] | 0x20;
    if (first != 'f' && first != 'v' && first != 'o' && first != 's' && first != 'x')
        return false;
    return ct__span_like(name, "forwarded") || ct__span_like(name, "via") || ct__span_like(name, "origin")
        || ct__span_begins(name, "sec-fetch-") || ct__span_begins(name, "x-forwarded-");
}

static bool gather(const ct__http1_head *head, seen *s, bool *is_lone) {
    for (size_t i = 0; i < head->count; i++) {
        const ct__http1_field *field = &head->fields[i];
        const int place = which(field->name);
        if (place == HEADERS) {
            *is_lone &= !is_others_hand(field->name);
        } else {
            if (s->has[place])
                return false;
            s->has[place] = true;
            s->values[place] = field->value;
        }
    }
    return true;
}

static bool read_headers(const seen *s, uint64_t max_timeout_ns, ct__plain *out) {
    const ct__span *values = s->values;
    if ((s->has[KEY] && s->has[AUTHORIZATION])
        || (s->has[TYPE] && !ct__span_like(values[TYPE], "application/json"))
        || s->has[IDEMPOTENCY] /* whether it is known is in the database */
        || (s->has[KIND] && !ct__span_like(values[KIND], "requestresponse"))
        || (s->has[TIMEOUT] && !read_timeout(values[TIMEOUT], max_timeout_ns, out)))
        return false;
    out->kind = s->has[KEY] ? CT__API_KEY : s->has[AUTHORIZATION] ? CT__AUTHORIZATION : CT__LOCAL;
    out->credential = values[s->has[KEY] ? KEY : AUTHORIZATION];
    out->tenant = values[TENANT];
    out->space = values[SPACE];
    if (s->has[REQUEST] && values[REQUEST].len == CT__UUID_BYTES) {
        out->has_request_id = read_uuid(values[REQUEST], out->request_id);
        if (!out->has_request_id)
            return false;
    }
    if (is_trace(values[TRACE])) /* another is left out, as if it had not been sent */
        out->traceparent = values[TRACE];
    if (s->has[QUALIFIER]) {
        out->qualifier = values[QUALIFIER];
        out->sticky = values[STICKY];
        if (out->qualifier.len > QUALIFIER_BYTES || !is_visible(out->qualifier) || out->sticky.len > STICKY_BYTES
            || !is_visible(out->sticky) || s->has[COOKIE] /* it may hold the key */)
            return false;
    }
    if (!s->has[DEPTH])
        return true; /* a chain without a depth says nothing */
    out->depth = values[DEPTH];
    out->chain = values[CHAIN];
    for (size_t i = 0; i < out->depth.len; i++)
        if ((ct__http_bytes[out->depth.at[i]] & CT__IN_DIGIT) == 0)
            return false;
    if (out->depth.len == 0 || out->depth.len > 4 || (out->depth.at[0] == '0' && out->depth.len > 1) || !is_chain(out->chain))
        return false;
    if (out->depth.at[0] == '0')
        out->depth.len = 0; /* none */
    return true;
}

static bool is_blank(uint8_t byte) {
    return byte == ' ' || byte == '\t';
}

/* Whether a list of media types, with parameters perhaps, has that of server-sent events. */
static bool names_events(ct__span list) {
    static const char EVENTS[] = "text/event-stream";
    for (size_t at = 0, end; at <= list.len; at = end + 1) {
        for (end = at; end < list.len && list.at[end] != ',';)
            end++;
        size_t begin = at, stop = begin;
        while (stop < end && list.at[stop] != ';')
            stop++;
        while (begin < stop && is_blank(list.at[begin]))
            begin++;
        while (stop > begin && is_blank(list.at[stop - 1]))
            stop--;
        if (ct__span_like((ct__span){list.at + begin, stop - begin}, EVENTS))
            return true;
    }
    return false;
}

static bool accepts_events(const ct__http1_head *head) {
    for (size_t i = 0; i < head->count; i++)
        if (ct__span_like(head->fields[i].name, "accept") && names_events(head->fields[i].value))
            return true;
    return false;
}

bool ct__plain_read(const ct__http1_head *head, uint64_t max_timeout_ns, ct__plain *out) {
    if (head->minor != 1 || head->closes || head->upgrades || head->expects || !ct__span_is(head->method, "POST"))
        return false;
    *out = (ct__plain){.is_lone = true};
    seen s = {0};
    if (!read_target(head->target, &out->function, &out->is_stream) || !gather(head, &s, &out->is_lone)
        || !read_headers(&s, max_timeout_ns, out))
        return false;
    out->is_events = out->is_stream && accepts_events(head);
    return true;
}
