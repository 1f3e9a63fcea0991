#include <stddef.h>
#include <stdint.h>

uint32_t crc32_of(const void *data, size_t length);
