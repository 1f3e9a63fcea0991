#include "lane/invoke.h"

#include "proto/pbwire.h"

enum { FUNCTION = 1, PAYLOAD = 2, TIMEOUT = 3, QUALIFIER = 4, STICKY = 5, PEER = 6 }; /* InvokeRequest */

static const uint64_t SKEW_MS = 3600000; /* as the executor's: the log is partitioned by the id's time */

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool hex(const uint8_t *text, uint8_t *out, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool uuid_get(ct__h2_span text, uint8_t out[16]) {
    if (text.len != CT__UUID_TEXT_BYTES)
        return false;
    const uint8_t *at = text.data;
    return at[8] == '-' && at[13] == '-' && at[18] == '-' && at[23] == '-' && hex(at, out, 4) && hex(at + 9, out + 4, 2) &&
           hex(at + 14, out + 6, 2) && hex(at + 19, out + 8, 2) && hex(at + 24, out + 10, 6);
}

void ct__uuid_put(uint8_t *out, const uint8_t id[16]) {
    static const uint8_t digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        *out++ = digits[id[i] >> 4];
        *out++ = digits[id[i] & 15];
    }
}

/* A UUIDv7 of about now. */
static bool is_recent(const uint8_t id[16], uint64_t now_ms) {
    if (id[6] >> 4 != 7 || id[8] >> 6 != 2)
        return false;
    uint64_t at_ms = 0;
    for (size_t i = 0; i < 6; i++)
        at_ms = at_ms << 8 | id[i];
    return (at_ms > now_ms ? at_ms - now_ms : now_ms - at_ms) < SKEW_MS;
}

/* Version, trace, span, flags; one that is not so is no trace. */
static void trace_get(ct__h2_span text, ct__invoke *out) {
    uint8_t trace[CT__TRACE_BYTES], span[CT__SPAN_BYTES];
    if (text.len < 55 || text.data[2] != '-' || text.data[35] != '-' || text.data[52] != '-' ||
        !hex(text.data + 3, trace, sizeof trace) || !hex(text.data + 36, span, sizeof span))
        return;
    memcpy(out->trace_id, trace, sizeof trace);
    memcpy(out->span_id, span, sizeof span);
}

static bool depth_get(ct__h2_span text, uint32_t *out) {
    if (text.len > 4)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        *out = *out * 10 + (text.data[i] - '0');
    }
    return true;
}

/* Like the metadata's reader in Python, but empty names and long chains are left to that one. */
static bool is_plain_chain(ct__h2_span text) {
    uint32_t names = text.len > 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] != ',')
            continue;
        names++;
        if (i == 0 || i + 1 == text.len || text.data[i - 1] == ',')
            return false;
    }
    return names <= CT_CHAIN_NAMES_MAX;
}

static bool message_get(const uint8_t *message, size_t len, ct__invoke *out) {
    ct__reader reader = {.at = message, .left = len};
    ct__pb_field field;
    int result;
    while ((result = ct__pb_next(&reader, &field)) == 1) {
        const bool is_bytes = field.type == CT__PB_BYTES;
        const ct__h2_span value = {.data = field.data, .len = field.len};
        if (field.number == FUNCTION && is_bytes) {
            out->function = value;
        } else if (field.number == PAYLOAD && is_bytes) {
            out->payload = value;
        } else if (field.number == TIMEOUT && field.type == CT__PB_VARINT && field.value <= UINT32_MAX) {
            out->timeout_ms = (uint32_t)field.value;
        } else if (field.number == QUALIFIER && is_bytes) {
            out->qualifier = ct__h2_is(value, "$LATEST", 7) ? (ct__h2_span){0} : value;
        } else if (field.number == STICKY && is_bytes) {
            out->sticky = value;
        } else if (field.number != PEER || !is_bytes) { /* it matters to guarded functions, and these are Python's */
            return false;
        }
    }
    return result == 0;
}

bool ct__invoke_read(const ct__h2_head *head, const uint8_t *message, size_t len, uint64_t now_ms, ct__invoke *out) {
    static const uint8_t nothing[] = "{}";
    *out = (ct__invoke){.source = "http", .chain = head->call_chain};
    if (!message_get(message, len, out) || !uuid_get(head->request_id, out->request_id) ||
        !is_recent(out->request_id, now_ms) || !depth_get(head->call_depth, &out->depth) || !is_plain_chain(head->call_chain) ||
        head->source.len >= sizeof out->source)
        return false;
    if (head->source.len > 0) {
        memset(out->source, 0, sizeof out->source);
        memcpy(out->source, head->source.data, head->source.len);
    }
    trace_get(head->traceparent, out);
    out->payload_bytes = out->payload.len;
    if (out->payload.len == 0)
        out->payload = (ct__h2_span){.data = nothing, .len = 2};
    return true;
}
