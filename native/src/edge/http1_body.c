#include "edge/bytes_of_http.h"
#include "edge/http1.h"

ct__http1_body ct__http1_body_of(const ct__http1_head *head) {
    ct__http1_body body = {.framing = head->framing, .left = head->length};
    if (head->framing == CT__HTTP1_CHUNKED)
        body.place = CT__HTTP1_AT_SIZE;
    else if (head->framing == CT__HTTP1_NO_BODY || (head->framing == CT__HTTP1_LENGTH && head->length == 0))
        body.place = CT__HTTP1_AT_END;
    return body;
}

/* The end of a size line was read. */
static enum ct__http1_place behind_size(ct__http1_body *body) {
    body->line = 0;
    return body->left > 0 ? CT__HTTP1_AT_DATA : CT__HTTP1_AT_TRAILER;
}

static unsigned digit_of(uint8_t byte) {
    return byte <= '9' ? (unsigned)(byte - '0') : (unsigned)((byte | 0x20) - 'a') + 10;
}

/* Takes one byte of a chunk's frame. Returns false when no correct client sends it. */
static bool step(ct__http1_body *body, uint8_t byte) {
    const uint8_t kind = ct__http_bytes[byte];
    switch (body->place) {
    case CT__HTTP1_AT_SIZE:
        if ((kind & CT__IN_HEX) == 0)
            return false;
        body->left = digit_of(byte);
        body->line = 1;
        body->place = CT__HTTP1_AT_DIGITS;
        return true;
    case CT__HTTP1_AT_DIGITS:
        if ((kind & CT__IN_HEX) != 0) {
            body->left = body->left << 4 | digit_of(byte);
            return ++body->line <= 15; /* so 60 bits hold it, however many zeros lead */
        }
        body->place = byte == ';' ? CT__HTTP1_AT_EXTENSION : CT__HTTP1_AT_SIZE_LF;
        return byte == ';' || byte == '\r';
    case CT__HTTP1_AT_EXTENSION:
        if (byte == '\r') {
            body->place = CT__HTTP1_AT_SIZE_LF;
            return true;
        }
        return (kind & CT__IN_VALUE) != 0 && ++body->line <= CT__HTTP1_CHUNK_LINE_BYTES;
    case CT__HTTP1_AT_SIZE_LF:
        body->place = behind_size(body);
        return byte == '\n';
    case CT__HTTP1_AT_DATA_CR:
        body->place = CT__HTTP1_AT_DATA_LF;
        return byte == '\r';
    case CT__HTTP1_AT_DATA_LF:
        body->place = CT__HTTP1_AT_SIZE;
        return byte == '\n';
    case CT__HTTP1_AT_TRAILER:
        body->place = byte == '\r' ? CT__HTTP1_AT_LAST_LF : CT__HTTP1_AT_TRAILER_NAME;
        return byte == '\r' || ((kind & CT__IN_TOKEN) != 0 && ++body->line <= CT__HTTP1_TRAILER_BYTES);
    case CT__HTTP1_AT_TRAILER_NAME:
        if (byte == ':')
            body->place = CT__HTTP1_AT_TRAILER_VALUE;
        return (byte == ':' || (kind & CT__IN_TOKEN) != 0) && ++body->line <= CT__HTTP1_TRAILER_BYTES;
    case CT__HTTP1_AT_TRAILER_VALUE:
        if (byte == '\r') {
            body->place = CT__HTTP1_AT_TRAILER_LF;
            return (body->line += 2) <= CT__HTTP1_TRAILER_BYTES;
        }
        return (kind & CT__IN_VALUE) != 0 && ++body->line <= CT__HTTP1_TRAILER_BYTES;
    case CT__HTTP1_AT_TRAILER_LF:
        body->place = CT__HTTP1_AT_TRAILER;
        return byte == '\n';
    case CT__HTTP1_AT_LAST_LF:
        body->place = CT__HTTP1_AT_END;
        return byte == '\n';
    case CT__HTTP1_AT_DATA:
    case CT__HTTP1_AT_END:
        break;
    }
    return false;
}

int ct__http1_body_next(ct__http1_body *body, const uint8_t *buf, size_t len, size_t *used, ct__span *data) {
    *data = (ct__span){buf, 0};
    size_t at = 0;
    for (; at < len && body->place != CT__HTTP1_AT_DATA && body->place != CT__HTTP1_AT_END; at++)
        if (!step(body, buf[at]))
            return CT_E_MALFORMED;
    *used = at;
    if (at == len || body->place == CT__HTTP1_AT_END)
        return 0;
    size_t count = len - at;
    if (body->framing != CT__HTTP1_UNTIL_CLOSE) {
        if (count > body->left)
            count = (size_t)body->left;
        body->left -= count;
        if (body->left == 0)
            body->place = body->framing == CT__HTTP1_CHUNKED ? CT__HTTP1_AT_DATA_CR : CT__HTTP1_AT_END;
    }
    *data = (ct__span){buf + at, count};
    *used = at + count;
    return 0;
}
