#include "edge/proxies.h"

#include <arpa/inet.h>
#include <string.h>

enum { MAPPED_BYTES = 12, TEXT_BYTES = 48 /* the longest address, its brackets apart, is 45 */ };

static const uint8_t MAPPED[MAPPED_BYTES] = {[10] = 0xFF, [11] = 0xFF};

static bool is_blank(uint8_t byte) {
    return byte == ' ' || byte == '\t';
}

static ct__span trimmed(ct__span text) {
    while (text.len > 0 && is_blank(text.at[0]))
        text = (ct__span){text.at + 1, text.len - 1};
    while (text.len > 0 && is_blank(text.at[text.len - 1]))
        text.len--;
    return text;
}

/* ":1" to ":65535" and the like: which port does not matter. */
static bool is_port(ct__span text) {
    if (text.len < 2 || text.len > 6 || text.at[0] != ':')
        return false;
    for (size_t i = 1; i < text.len; i++)
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
    return true;
}

static bool read_v4(const char *text, ct__address *out) {
    struct in_addr v4;
    if (inet_pton(AF_INET, text, &v4) != 1)
        return false;
    memcpy(out->bytes, MAPPED, MAPPED_BYTES);
    memcpy(out->bytes + MAPPED_BYTES, &v4, sizeof v4);
    return true;
}

static bool read_v6(const char *text, ct__address *out) {
    struct in6_addr v6;
    if (inet_pton(AF_INET6, text, &v6) != 1)
        return false;
    memcpy(out->bytes, &v6, sizeof out->bytes);
    return true;
}

bool ct__address_read(ct__span text, ct__address *out) {
    text = trimmed(text);
    const bool has_bracket = text.len > 0 && text.at[0] == '[';
    if (has_bracket) {
        const uint8_t *end = memchr(text.at, ']', text.len);
        if (end == NULL)
            return false;
        const ct__span port = {end + 1, (size_t)(text.at + text.len - (end + 1))};
        if (port.len > 0 && !is_port(port))
            return false;
        text = (ct__span){text.at + 1, (size_t)(end - text.at) - 1};
    } else {
        const uint8_t *colon = text.len > 0 ? memchr(text.at, ':', text.len) : NULL;
        const size_t before = colon != NULL ? (size_t)(colon - text.at) : 0;
        if (colon != NULL && is_port((ct__span){colon, text.len - before}) && memchr(text.at, '.', before) != NULL)
            text.len = before;
    }
    char copy[TEXT_BYTES];
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.at, 0, text.len) != NULL)
        return false;
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    return (!has_bracket && read_v4(copy, out)) || read_v6(copy, out);
}

ct__span ct__address_packed(const ct__address *address) {
    if (memcmp(address->bytes, MAPPED, MAPPED_BYTES) != 0)
        return (ct__span){address->bytes, sizeof address->bytes};
    return (ct__span){address->bytes + MAPPED_BYTES, sizeof address->bytes - MAPPED_BYTES};
}

bool ct__address_in(const ct__address *address, const ct_edge_net *nets, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const size_t whole = nets[i].bits / 8, rest = nets[i].bits % 8;
        if (memcmp(address->bytes, nets[i].base, whole) == 0 &&
            (rest == 0 || (address->bytes[whole] ^ nets[i].base[whole]) >> (8 - rest) == 0))
            return true;
    }
    return false;
}

void ct__address_behind(const ct__http1_head *head, const ct_edge_net *nets, size_t count, ct__address *address) {
    for (size_t field = head->count; field-- > 0;) {
        if (!ct__span_like(head->fields[field].name, "x-forwarded-for"))
            continue;
        ct__span left = head->fields[field].value;
        for (bool has_more = true; has_more;) {
            size_t begin = left.len;
            while (begin > 0 && left.at[begin - 1] != ',')
                begin--;
            if (!ct__address_read((ct__span){left.at + begin, left.len - begin}, address) ||
                !ct__address_in(address, nets, count))
                return;
            has_more = begin > 0;
            left.len = has_more ? begin - 1 : 0;
        }
    }
}
