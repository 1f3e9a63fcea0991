/* Any set of names and any Host: nothing is read beyond either, and each name of a set that was taken is found. */
#include "edge/domains.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
    const size_t host_len = end != NULL ? (size_t)(end - data) : 0;
    const uint8_t *names = end != NULL ? end + 1 : data;
    const size_t names_len = end != NULL ? size - host_len - 1 : size;
    ct__domains domains = {0};
    const int result = ct__domains_set(&domains, names, names_len);
    if (result != 0 && !ct__domains_have(&domains, (ct__span){data, host_len}))
        abort();
    (void)ct__domains_have(&domains, (ct__span){data, host_len});
    for (size_t i = 0, begin = 0; result == 0 && i < names_len; i++) {
        if (names[i] != '\n')
            continue;
        const ct__span name = {names + begin, i - begin};
        bool is_plain = true; /* what no Host has, no Host can find */
        for (size_t at = 0; at < name.len; at++)
            is_plain &= (name.at[at] >= 'a' && name.at[at] <= 'z');
        if (is_plain && !ct__domains_have(&domains, name))
            abort();
        begin = i + 1;
    }
    ct__domains_fini(&domains);
    return 0;
}
