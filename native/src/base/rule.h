/* For which functions a permission is held: whose names fit one of some patterns, and none of some others. Pure. */
#ifndef CT_BASE_RULE_H
#define CT_BASE_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A rule is a byte, how many patterns allow, and then those and the ones that forbid, each as two bytes of its length and its
 * bytes: `*` any run, `?` any byte, `[` and 16 bytes, of a set of bytes below 128 the bit of each, else the byte itself. Nothing is
 * allowed by a rule that is not so, and no name with a byte above 127. An empty one allows everything. */
bool ct__rule_allows(const uint8_t *rule, size_t rule_len, const uint8_t *name, size_t name_len);

#endif
