#include "edge/http1.h"

#include "edge/bytes_of_http.h"

#include <string.h>

static bool all(ct__span span, uint8_t kind) {
    for (size_t i = 0; i < span.len; i++)
        if ((ct__http_bytes[span.at[i]] & kind) == 0)
            return false;
    return true;
}

static uint8_t lower(uint8_t byte) {
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte | 0x20) : byte;
}

bool ct__span_is(ct__span span, const char *text) {
    return span.len == strlen(text) && memcmp(span.at, text, span.len) == 0;
}

static bool like(const uint8_t *at, const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (lower(at[i]) != (uint8_t)text[i])
            return false;
    return true;
}

bool ct__span_like(ct__span span, const char *text) {
    return span.len == strlen(text) && like(span.at, text, span.len);
}

bool ct__span_same(ct__span a, ct__span b) {
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.at[i]) != lower(b.at[i]))
            return false;
    return true;
}

bool ct__span_begins(ct__span span, const char *text) {
    const size_t len = strlen(text);
    return span.len >= len && like(span.at, text, len);
}

/* ---- finding the end of a head ---- */

typedef struct bounds {
    size_t line; /* of the first line */
    size_t head;
    size_t fields;
    int long_line, long_head; /* what each is refused with */
    int malformed;
} bounds;

/* Returns 0 when the head ends at *used, CT_E_MORE, or a refusal. */
static int find_end(ct__http1_scan *scan, const uint8_t *buf, size_t len, const bounds *b, size_t *used) {
    for (;;) {
        const uint8_t *found = scan->seen < len ? memchr(buf + scan->seen, '\n', len - scan->seen) : NULL;
        const size_t end = found == NULL ? len : (size_t)(found - buf);
        if (scan->lines == 0 && end - scan->line > b->line)
            return b->long_line;
        if (end >= b->head)
            return b->long_head;
        if (found == NULL) {
            scan->seen = len;
            return CT_E_MORE;
        }
        if (end == scan->line || buf[end - 1] != '\r')
            return b->malformed; /* a bare LF */
        const bool is_empty = end - scan->line == 1;
        scan->seen = end + 1;
        scan->line = end + 1;
        if (is_empty && scan->lines > 0) {
            *used = end + 1;
            return 0;
        }
        if (is_empty && end > 1)
            return b->malformed; /* one empty line may stand before a message, not two */
        scan->lines += is_empty ? 0 : 1;
        if (scan->lines > b->fields + 1)
            return b->long_head;
    }
}

/* The next line of a head that is whole, without its CRLF. */
static ct__span next_line(const uint8_t **at, const uint8_t *limit) {
    const uint8_t *end = memchr(*at, '\n', (size_t)(limit - *at));
    const ct__span line = {*at, (size_t)(end - 1 - *at)};
    *at = end + 1;
    return line;
}

/* Takes what stands before `stop` off the line. */
static bool cut(ct__span *line, uint8_t stop, ct__span *part) {
    const uint8_t *found = memchr(line->at, stop, line->len);
    if (found == NULL)
        return false;
    *part = (ct__span){line->at, (size_t)(found - line->at)};
    line->len -= part->len + 1;
    line->at = found + 1;
    return true;
}

static ct__span trimmed(ct__span span) {
    while (span.len > 0 && (span.at[0] == ' ' || span.at[0] == '\t'))
        span = (ct__span){span.at + 1, span.len - 1};
    while (span.len > 0 && (span.at[span.len - 1] == ' ' || span.at[span.len - 1] == '\t'))
        span.len--;
    return span;
}

static bool read_field(ct__span line, ct__http1_field *out) {
    /* A folded line begins with a blank, which is no token; so does a name with a blank before its colon. */
    if (!cut(&line, ':', &out->name) || out->name.len == 0 || !all(out->name, CT__IN_TOKEN))
        return false;
    out->value = trimmed(line);
    return all(out->value, CT__IN_VALUE);
}

/* ---- what the fields say about the message itself ---- */

typedef struct facts {
    size_t hosts, lengths, codings;
    ct__span length, coding;
    bool says_close, says_keep, says_upgrade, has_upgrade;
    bool expects_other;
} facts;

static void read_connection(ct__span value, facts *f) {
    for (bool is_last = false; !is_last;) {
        ct__span item;
        if (!cut(&value, ',', &item)) {
            item = value;
            is_last = true;
        }
        item = trimmed(item);
        f->says_close |= ct__span_like(item, "close");
        f->says_keep |= ct__span_like(item, "keep-alive");
        f->says_upgrade |= ct__span_like(item, "upgrade");
    }
}

static void note(const ct__http1_field *field, facts *f, ct__http1_head *out) {
    const ct__span name = field->name;
    switch (name.len) { /* most fields are none of these, by their length alone */
    case 4:
        if (ct__span_like(name, "host")) {
            f->hosts++;
            out->host = field->value;
        }
        break;
    case 6:
        if (ct__span_like(name, "expect")) {
            out->expects = ct__span_like(field->value, "100-continue");
            f->expects_other |= !out->expects;
        }
        break;
    case 7:
        f->has_upgrade |= ct__span_like(name, "upgrade");
        break;
    case 10:
        if (ct__span_like(name, "connection"))
            read_connection(field->value, f);
        break;
    case 14:
        if (ct__span_like(name, "content-length")) {
            f->lengths++;
            f->length = field->value;
        }
        break;
    case 17:
        if (ct__span_like(name, "transfer-encoding")) {
            f->codings++;
            f->coding = field->value;
        }
        break;
    default:
        break;
    }
}

/* Returns 0, or 413 for a number of more than 18 digits, or 400. */
static int read_length(ct__span text, uint64_t *out) {
    if (text.len == 0 || !all(text, CT__IN_DIGIT))
        return 400;
    if (text.len > 18)
        return 413;
    *out = 0;
    for (size_t i = 0; i < text.len; i++)
        *out = *out * 10 + (uint64_t)(text.at[i] - '0');
    return 0;
}

/* How the body ends, said once. RFC 9112 section 6.3 lets a server repair some of what is refused here; a proxy before us
 * may have repaired it in another way. */
static int read_framing(const facts *f, ct__http1_head *out) {
    if (f->lengths > 1 || f->codings > 1 || (f->lengths > 0 && f->codings > 0))
        return 400;
    if (f->codings > 0) {
        if (out->minor == 0)
            return 400;
        if (!ct__span_like(f->coding, "chunked"))
            return 501;
        out->framing = CT__HTTP1_CHUNKED;
    } else if (f->lengths > 0) {
        out->framing = CT__HTTP1_LENGTH;
        return read_length(f->length, &out->length);
    }
    return 0;
}

static int read_fields(const uint8_t *at, const uint8_t *end, ct__http1_head *out, facts *f) {
    for (;;) {
        const ct__span line = next_line(&at, end);
        if (at == end)
            return 0;
        ct__http1_field *field = &out->fields[out->count];
        if (!read_field(line, field))
            return 400;
        out->count++;
        note(field, f, out);
    }
}

static int read_version(ct__span text, uint32_t *minor) {
    if (text.len != 8 || memcmp(text.at, "HTTP/", 5) != 0 || (ct__http_bytes[text.at[5]] & CT__IN_DIGIT) == 0 || text.at[6] != '.'
        || (ct__http_bytes[text.at[7]] & CT__IN_DIGIT) == 0)
        return 400;
    if (text.at[5] != '1' || text.at[7] > '1')
        return 505;
    *minor = (uint32_t)(text.at[7] - '0');
    return 0;
}

/* ---- requests ---- */

static int read_request_line(ct__span line, ct__http1_head *out) {
    ct__span rest = line;
    if (!cut(&rest, ' ', &out->method) || !cut(&rest, ' ', &out->target) || out->method.len == 0
        || !all(out->method, CT__IN_TOKEN) || out->target.len == 0 || !all(out->target, CT__IN_TARGET))
        return 400;
    if (out->method.len > CT__HTTP1_METHOD_BYTES)
        return 501;
    if (out->target.len > CT__HTTP1_TARGET_BYTES)
        return 414;
    return read_version(rest, &out->minor);
}

/* A target that names a server must name the one that Host names (RFC 9112 section 3.2.2), and is then read as its path. */
static int read_target(ct__http1_head *out) {
    if (out->target.at[0] == '/')
        return 0;
    if (ct__span_is(out->target, "*"))
        return ct__span_is(out->method, "OPTIONS") ? 0 : 400;
    static const uint8_t SLASH = '/';
    if (!ct__span_begins(out->target, "http://") || out->host.at == NULL)
        return 400;
    ct__span rest = {out->target.at + 7, out->target.len - 7};
    size_t end = 0;
    while (end < rest.len && rest.at[end] != '/' && rest.at[end] != '?')
        end++;
    if (end == 0 || !ct__span_same((ct__span){rest.at, end}, out->host))
        return 400;
    if (end < rest.len && rest.at[end] == '?')
        return 400; /* a query without a path: we would have to write another target than came */
    out->target = end == rest.len ? (ct__span){&SLASH, 1} : (ct__span){rest.at + end, rest.len - end};
    return 0;
}

static int read_request(const uint8_t *buf, size_t used, ct__http1_head *out) {
    const uint8_t *at = buf;
    if (at[0] == '\r' && at[1] == '\n')
        at += 2;
    int refusal = read_request_line(next_line(&at, buf + used), out);
    facts f = {0};
    if (refusal == 0)
        refusal = read_fields(at, buf + used, out, &f);
    if (refusal != 0)
        return refusal;
    if (f.hosts > 1 || (f.hosts == 0 && out->minor == 1) || !all(out->host, CT__IN_HOST))
        return 400;
    refusal = read_target(out);
    if (refusal == 0)
        refusal = read_framing(&f, out);
    if (refusal == 0 && f.expects_other)
        refusal = 417;
    out->expects &= out->minor == 1;
    out->closes = f.says_close || (out->minor == 0 && !f.says_keep);
    out->upgrades = f.says_upgrade && f.has_upgrade && out->minor == 1;
    return refusal;
}

static void begin(ct__http1_head *out) { /* its many fields are not cleared: `count` says which are there */
    memset(out, 0, offsetof(ct__http1_head, fields));
}

int ct__http1_request(ct__http1_scan *scan, const uint8_t *buf, size_t len, ct__http1_head *out) {
    static const bounds REQUEST = {
        .line = CT__HTTP1_METHOD_BYTES + 1 + CT__HTTP1_TARGET_BYTES + 10,
        .head = CT__HTTP1_HEAD_BYTES,
        .fields = CT__HTTP1_FIELDS,
        .long_line = 414,
        .long_head = 431,
        .malformed = 400,
    };
    if (len > 0 && buf[0] != '\r' && (ct__http_bytes[buf[0]] & CT__IN_TOKEN) == 0)
        return 400; /* no need to wait for a line that TLS or another protocol may never send */
    size_t used = 0;
    const int result = find_end(scan, buf, len, &REQUEST, &used);
    if (result == CT_E_MORE)
        return result;
    begin(out);
    out->used = used;
    return result != 0 ? result : read_request(buf, used, out);
}

/* ---- answers ---- */

static int read_status_line(ct__span line, ct__http1_head *out) {
    ct__span version, code;
    if (!cut(&line, ' ', &version) || read_version(version, &out->minor) != 0)
        return 502;
    if (!cut(&line, ' ', &code)) { /* the reason and its blank are missing in some answers */
        code = line;
        line.len = 0;
    }
    if (code.len != 3 || !all(code, CT__IN_DIGIT) || code.at[0] == '0' || !all(line, CT__IN_VALUE))
        return 502;
    out->status = (uint32_t)(code.at[0] - '0') * 100 + (uint32_t)(code.at[1] - '0') * 10 + (uint32_t)(code.at[2] - '0');
    return 0;
}

int ct__http1_answer(ct__http1_scan *scan, const uint8_t *buf, size_t len, bool of_head, ct__http1_head *out) {
    static const bounds ANSWER = {
        .line = 1024,
        .head = CT__HTTP1_ANSWER_HEAD_BYTES,
        .fields = CT__HTTP1_ANSWER_FIELDS - 1,
        .long_line = 502,
        .long_head = 502,
        .malformed = 502,
    };
    size_t used = 0;
    const int result = find_end(scan, buf, len, &ANSWER, &used);
    if (result == CT_E_MORE)
        return result;
    begin(out);
    out->used = used;
    const uint8_t *at = buf;
    facts f = {0};
    if (result != 0 || *at == '\r' || read_status_line(next_line(&at, buf + used), out) != 0
        || read_fields(at, buf + used, out, &f) != 0 || read_framing(&f, out) != 0)
        return 502;
    out->closes = f.says_close || (out->minor == 0 && !f.says_keep);
    out->upgrades = out->status == 101;
    if (of_head || out->status < 200 || out->status == 204 || out->status == 304) {
        out->framing = CT__HTTP1_NO_BODY;
        out->length = 0;
    } else if (out->framing == CT__HTTP1_NO_BODY) {
        out->framing = CT__HTTP1_UNTIL_CLOSE;
        out->closes = true;
    }
    return 0;
}
