#define _GNU_SOURCE
#include "answer.h"

#include "base/abi.h"

#include <string.h>
#include <strings.h>

typedef struct head {
    int status;
    size_t bytes;
    size_t length;
    bool has_length, is_chunked, is_kept;
} head;

static bool is_name(const uint8_t *at, size_t len, const char *name) {
    return len == strlen(name) && strncasecmp((const char *)at, name, len) == 0;
}

static int decimal(const uint8_t *at, size_t len, size_t *out) {
    size_t value = 0;
    if (len == 0)
        return CT_E_MALFORMED;
    for (size_t i = 0; i < len; i++) {
        if (at[i] < '0' || at[i] > '9')
            return CT_E_MALFORMED;
        value = value * 10 + (size_t)(at[i] - '0');
        if (value > CT__ANSWER_BODY_MAX)
            return CT_E_TOOBIG;
    }
    *out = value;
    return 0;
}

static int header(const uint8_t *line, size_t len, head *h) {
    const uint8_t *colon = memchr(line, ':', len);
    if (colon == NULL || colon == line)
        return CT_E_MALFORMED;
    const size_t name_len = (size_t)(colon - line);
    const uint8_t *value = colon + 1;
    size_t value_len = len - name_len - 1;
    while (value_len > 0 && (value[0] == ' ' || value[0] == '\t'))
        value++, value_len--;
    while (value_len > 0 && (value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
        value_len--;
    if (is_name(line, name_len, "content-length")) {
        if (h->has_length || h->is_chunked)
            return CT_E_MALFORMED;
        h->has_length = true;
        return decimal(value, value_len, &h->length);
    }
    if (is_name(line, name_len, "transfer-encoding")) {
        if (h->has_length || h->is_chunked || !is_name(value, value_len, "chunked"))
            return CT_E_MALFORMED;
        h->is_chunked = true;
    } else if (is_name(line, name_len, "connection") && is_name(value, value_len, "close")) {
        h->is_kept = false;
    }
    return 0;
}

static int head_of(const uint8_t *buf, size_t len, head *h) {
    const size_t seen = len < CT__ANSWER_HEAD_MAX ? len : CT__ANSWER_HEAD_MAX;
    const uint8_t *end = memmem(buf, seen, "\r\n\r\n", 4);
    if (end == NULL)
        return len < CT__ANSWER_HEAD_MAX ? CT_E_MORE : CT_E_TOOBIG;
    *h = (head){.bytes = (size_t)(end - buf) + 4, .is_kept = true};
    const uint8_t *line_end = memmem(buf, h->bytes, "\r\n", 2);
    const size_t first = (size_t)(line_end - buf);
    if (first < 12 || memcmp(buf, "HTTP/1.1 ", 9) != 0 || (first > 12 && buf[12] != ' '))
        return CT_E_MALFORMED;
    size_t status = 0;
    if (decimal(buf + 9, 3, &status) < 0 || status < 100)
        return CT_E_MALFORMED;
    h->status = (int)status;
    const uint8_t *line = line_end + 2;
    while (line < end) {
        const uint8_t *next = memmem(line, (size_t)(end - line) + 2, "\r\n", 2);
        const int result = header(line, (size_t)(next - line), h);
        if (result < 0)
            return result;
        line = next + 2;
    }
    return 0;
}

static int hex(uint8_t digit) {
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    const int letter = digit | 0x20;
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* The chunk at buf: its size, and where its bytes begin. */
static int chunk_head(const uint8_t *buf, size_t len, size_t *size, size_t *begin) {
    size_t at = 0, value = 0;
    while (at < len && hex(buf[at]) >= 0) {
        value = value << 4 | (size_t)hex(buf[at++]);
        if (value > CT__ANSWER_BODY_MAX || at > 16)
            return CT_E_TOOBIG;
    }
    if (at < len && at == 0)
        return CT_E_MALFORMED;
    const uint8_t *end = memmem(buf + at, len - at, "\r\n", 2);
    if (end == NULL)
        return len - at < 1024 ? CT_E_MORE : CT_E_MALFORMED;
    if (end != buf + at && buf[at] != ';')
        return CT_E_MALFORMED;
    *size = value;
    *begin = (size_t)(end - buf) + 2;
    return 0;
}

/* Walks the chunks from buf; with `into` it moves their bytes there. Returns 0 at the last chunk's end, or a failure. */
static int chunks(const uint8_t *buf, size_t len, uint8_t *into, size_t *total, size_t *used) {
    size_t at = 0, sum = 0;
    for (;;) {
        size_t size = 0, begin = 0;
        const int result = chunk_head(buf + at, len - at, &size, &begin);
        if (result < 0)
            return result;
        at += begin;
        if (sum + size > CT__ANSWER_BODY_MAX)
            return CT_E_TOOBIG;
        if (len - at < size + 2)
            return CT_E_MORE;
        if (memcmp(buf + at + size, "\r\n", 2) != 0) /* a trailer, too: no server that is measured sends one */
            return CT_E_MALFORMED;
        if (into != NULL)
            memmove(into + sum, buf + at, size);
        sum += size;
        at += size + 2;
        if (size == 0) {
            *total = sum;
            *used = at;
            return 0;
        }
    }
}

int ct__answer_split(uint8_t *buf, size_t len, ct__answer *out) {
    size_t at = 0;
    head h;
    do {
        const int result = head_of(buf + at, len - at, &h);
        if (result < 0)
            return result;
        at += h.bytes;
    } while (h.status < 200);
    size_t body_len = h.length, used = h.length;
    if (h.status == 204 || h.status == 304) {
        body_len = used = 0;
    } else if (h.is_chunked) {
        const int result = chunks(buf + at, len - at, NULL, &body_len, &used);
        if (result < 0)
            return result;
        (void)chunks(buf + at, len - at, buf + at, &body_len, &used);
    } else if (!h.has_length) {
        return CT_E_MALFORMED;
    }
    if (len - at < used)
        return CT_E_MORE;
    *out = (ct__answer){
        .status = h.status, .is_kept = h.is_kept, .body = buf + at, .body_len = body_len, .used = at + used};
    return 0;
}
