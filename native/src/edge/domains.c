#include "edge/domains.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static ct__span at(const ct__domains *d, uint32_t index) {
    const uint32_t begin = index > 0 ? d->ends[index - 1] : 0;
    return (ct__span){d->text + begin, d->ends[index] - begin};
}

static int compare(ct__span a, ct__span b) {
    const int order = memcmp(a.at, b.at, a.len < b.len ? a.len : b.len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static bool has(const ct__domains *d, ct__span name) {
    uint32_t low = 0, high = d->count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const int order = compare(at(d, middle), name);
        if (order == 0)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

void ct__domains_fini(ct__domains *domains) {
    free(domains->text);
    free(domains->ends);
    *domains = (ct__domains){0};
}

static int read_names(ct__domains *d, const uint8_t *names, size_t len) {
    size_t begin = 0, used = 0;
    for (size_t i = 0; i < len; i++) {
        if (names[i] != '\n')
            continue;
        const ct__span name = {names + begin, i - begin};
        if (name.len == 0 || name.len > CT__DOMAIN_BYTES || (d->count > 0 && compare(at(d, d->count - 1), name) >= 0))
            return CT_E_RANGE;
        memcpy(d->text + used, name.at, name.len);
        used += name.len;
        d->ends[d->count++] = (uint32_t)used;
        begin = i + 1;
    }
    return begin == len ? 0 : CT_E_RANGE;
}

int ct__domains_set(ct__domains *domains, const uint8_t *names, size_t len) {
    ct__domains_fini(domains);
    domains->is_unknown = true;
    if (len > UINT32_MAX)
        return CT_E_RANGE;
    uint32_t count = 0;
    for (size_t i = 0; i < len; i++)
        count += names[i] == '\n' ? 1 : 0;
    ct__domains made = {.text = malloc(len + 1), .ends = calloc((size_t)count + 1, sizeof *made.ends)};
    const int result = made.text == NULL || made.ends == NULL ? -ENOMEM : read_names(&made, names, len);
    if (result != 0) {
        ct__domains_fini(&made);
        return result;
    }
    *domains = made;
    return 0;
}

/* As constellation.nova.domain.host.host_in reads it. */
bool ct__domains_have(const ct__domains *domains, ct__span host) {
    if (domains->is_unknown)
        return true;
    uint8_t name[CT__DOMAIN_BYTES + 1];
    size_t len = 0;
    while (len < host.len && host.at[len] != ':')
        len++;
    for (size_t i = len; i < host.len; i++)
        if (host.at[i] >= 0x80)
            return false;
    if (len > 0 && host.at[len - 1] == '.')
        len--;
    if (len == 0 || len > CT__DOMAIN_BYTES)
        return false;
    for (size_t i = 0; i < len; i++) {
        const uint8_t byte = host.at[i];
        if (byte >= 0x80)
            return false;
        name[i] = byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
    }
    if (has(domains, (ct__span){name, len}))
        return true;
    const uint8_t *dot = memchr(name, '.', len);
    if (dot == NULL || dot == name)
        return false;
    uint8_t *const cover = name + (dot - name) - 1; /* the label before it gives its last byte to the star */
    *cover = '*';
    return has(domains, (ct__span){cover, len - (size_t)(cover - name)});
}
