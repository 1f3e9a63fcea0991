#include "base/rule.h"

#include "base/abi.h"

enum { SET_BYTES = 16 };

static bool is_in_set(const uint8_t *set, uint8_t c) {
    return (set[c >> 3] >> (c & 7) & 1) != 0;
}

/* One run is tried anew at a time, the last one: a pattern of many stars costs no more than its length times the name's. */
static bool fits(const uint8_t *glob, size_t glob_len, const uint8_t *name, size_t name_len) {
    size_t at = 0, seen = 0, again_at = 0, again_seen = 0;
    bool has_run = false;
    while (seen < name_len) {
        if (at < glob_len && glob[at] == '*') {
            has_run = true;
            again_at = ++at;
            again_seen = seen;
            continue;
        }
        bool is_same = false;
        size_t step = 1;
        if (at < glob_len && glob[at] == '[') {
            if (glob_len - at <= SET_BYTES)
                return false;
            step += SET_BYTES;
            is_same = is_in_set(glob + at + 1, name[seen]);
        } else if (at < glob_len) {
            is_same = glob[at] == '?' || glob[at] == name[seen];
        }
        if (is_same) {
            at += step;
            seen++;
        } else if (has_run) {
            at = again_at;
            seen = ++again_seen;
        } else {
            return false;
        }
    }
    while (at < glob_len && glob[at] == '*')
        at++;
    return at == glob_len;
}

bool ct__rule_allows(const uint8_t *rule, size_t rule_len, const uint8_t *name, size_t name_len) {
    if (rule_len == 0)
        return true;
    for (size_t i = 0; i < name_len; i++)
        if (name[i] > 127)
            return false;
    uint32_t allowing = rule[0];
    bool is_allowed = false;
    for (size_t at = 1; at < rule_len;) {
        if (rule_len - at < 2)
            return false;
        const size_t len = (size_t)rule[at] << 8 | rule[at + 1];
        at += 2;
        if (len > rule_len - at)
            return false;
        const bool does_fit = fits(rule + at, len, name, name_len);
        at += len;
        if (allowing > 0) {
            allowing--;
            is_allowed = is_allowed || does_fit;
        } else if (does_fit) {
            return false;
        }
    }
    return is_allowed && allowing == 0;
}

uint32_t ct_rule_allows(const uint8_t *rule, size_t rule_len, const uint8_t *name, size_t name_len) {
    return ct__rule_allows(rule, rule_len, name, name_len);
}
