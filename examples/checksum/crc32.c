#include "crc32.h"

uint32_t crc32_of(const void *data, size_t length) {
    uint32_t sum = ~0u;
    for (const uint8_t *at = data; length > 0; at++, length--) {
        sum ^= *at;
        for (int bit = 0; bit < 8; bit++)
            sum = (sum >> 1) ^ (0xedb88320u & (0u - (sum & 1)));
    }
    return ~sum;
}
