/* Any text as an address: one that is read is packed in 4 or 16 bytes, and lies in the network of all. */
#include "edge/proxies.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const ct_edge_net all = {.bits = 0};
    ct__address address;
    if (ct__address_read((ct__span){data, size}, &address)) {
        const size_t len = ct__address_packed(&address).len;
        must(len == 4 || len == 16);
        must(ct__address_in(&address, &all, 1));
    }
    static ct__http1_head head;
    head.count = 1;
    head.fields[0] = (ct__http1_field){.name = {(const uint8_t *)"x-forwarded-for", 15}, .value = {data, size}};
    ct__address_behind(&head, &all, 1, &address);
    return 0;
}
