#include "edge/events.h"

#include <string.h>

/* What is written, or counted where there is no place for it. */
typedef struct sink {
    uint8_t *at;
    size_t len;
} sink;

static void put(sink *s, const void *data, size_t len) {
    if (s->at != NULL && len > 0)
        memcpy(s->at + s->len, data, len);
    s->len += len;
}

static void put_text(sink *s, const char *text) {
    put(s, text, strlen(text));
}

static const char BEGIN[] = "data: ", NEXT_LINE[] = "\ndata: ", END[] = "\n\n", UNKNOWN[] = "\xEF\xBF\xBD";

/* How the character that begins here stands: its length; 0: it may be whole with more bytes than `len`; negative: it is none, and so many
 * bytes are one mistake. As the Unicode Standard recommends (maximal subparts), and Python's decoder does. */
static int character(const uint8_t *at, size_t len) {
    const uint8_t first = at[0];
    if (first < 0x80)
        return 1;
    if (first < 0xC2 || first > 0xF4)
        return -1;
    const int whole = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    for (int i = 1; i < whole; i++) {
        if ((size_t)i == len)
            return 0;
        const uint8_t low = i > 1 ? 0x80 : first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
        const uint8_t high = i > 1 ? 0xBF : first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
        if (at[i] < low || at[i] > high)
            return -i;
    }
    return whole;
}

/* Half of a surrogate is no character; Python's decoder sees that with its third byte only, and so do we, that events end alike. */
static bool is_surrogate(const uint8_t *at, size_t len) {
    return len == 2 && at[0] == 0xED && at[1] >= 0xA0 && at[1] <= 0xBF;
}

static int stands(const uint8_t *at, size_t len) {
    return is_surrogate(at, len) ? 0 : character(at, len);
}

/* What was begun and is no character. */
static void give_up(sink *s, ct__cut *cut) {
    put_text(s, UNKNOWN);
    if (is_surrogate(cut->bytes, cut->len))
        put_text(s, UNKNOWN);
    cut->len = 0;
}

/* The character that the piece before began. Returns how many bytes of this one belong to it. */
static size_t mend(sink *s, ct__cut *cut, ct__span piece) {
    size_t used = 0;
    while (cut->len > 0 && used < piece.len) {
        cut->bytes[cut->len] = piece.at[used];
        const int what = stands(cut->bytes, cut->len + 1);
        if (what < 0) { /* the new byte is not of it: it is looked at by itself */
            give_up(s, cut);
            break;
        }
        used++;
        cut->len++;
        if (what > 0) {
            put(s, cut->bytes, cut->len);
            cut->len = 0;
        }
    }
    return used;
}

/* Lines and what is no text; everything between is taken in one go. */
static void put_lines(sink *s, ct__cut *cut, ct__span text) {
    size_t from = 0, at = 0;
    while (at < text.len) {
        const uint8_t byte = text.at[at];
        if (byte < 0x80 && byte != '\n' && byte != '\r') {
            at++;
            continue;
        }
        const int what = stands(text.at + at, text.len - at);
        if (what > 1) {
            at += (size_t)what;
            continue;
        }
        put(s, text.at + from, at - from);
        if (what == 1) {
            put_text(s, NEXT_LINE);
            at += byte == '\r' && at + 1 < text.len && text.at[at + 1] == '\n' ? 2 : 1;
        } else if (what < 0) {
            put_text(s, UNKNOWN);
            at += (size_t)-what;
        } else {
            cut->len = (uint32_t)(text.len - at);
            memcpy(cut->bytes, text.at + at, cut->len);
            at = text.len;
        }
        from = at;
    }
    put(s, text.at + from, at - from);
}

size_t ct__event_text(uint8_t *out, ct__cut *cut, ct__span piece, bool is_last) {
    sink s = {.at = out, .len = sizeof BEGIN - 1}; /* its begin is written once there is something to begin */
    const size_t mended = mend(&s, cut, piece);
    if (mended < piece.len)
        put_lines(&s, cut, (ct__span){piece.at + mended, piece.len - mended});
    if (is_last && cut->len > 0)
        give_up(&s, cut);
    if (s.len == sizeof BEGIN - 1)
        return 0;
    if (out != NULL)
        memcpy(out, BEGIN, sizeof BEGIN - 1);
    put_text(&s, END);
    return s.len;
}

size_t ct__event_named(uint8_t *out, const char *name, ct__span text) {
    sink s = {.at = out};
    ct__cut cut = {0};
    put_text(&s, "event: ");
    put_text(&s, name);
    put_text(&s, NEXT_LINE);
    put_lines(&s, &cut, text);
    if (cut.len > 0)
        give_up(&s, &cut);
    put_text(&s, END);
    return s.len;
}
