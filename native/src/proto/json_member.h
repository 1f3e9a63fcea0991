/* Single members of a JSON object, without building anything. */
#ifndef CT_PROTO_JSON_MEMBER_H
#define CT_PROTO_JSON_MEMBER_H

#include "base/abi.h"

#include <stdbool.h>

/* Finds the member `name` (plain text) of an object: the last of that name, as Python's parsers keep it. `json` is what ct_json_check
 * accepts; of anything else the result has no meaning, but lies within it. Returns the length of its value as it is written, with
 * *value where it begins; 0: there is none, or this is no object. */
size_t ct__json_member(const uint8_t *json, size_t len, const char *name, const uint8_t **value);

/* A value that is a whole number from 0 to 9 digits, or -1. */
long ct__json_number(const uint8_t *value, size_t len);

/* A value that is a string, as ASCII: what is not becomes "?", what a header can not carry is left out. Writes at most `cap`
 * characters. Returns how many, or -1: it is no string. */
ptrdiff_t ct__json_ascii(const uint8_t *value, size_t len, char *out, size_t cap);

/* A value that is a string, as UTF-8: whole characters, at most `cap` bytes of them; half a surrogate pair becomes U+FFFD. Returns how
 * many bytes, or -1: it is no string. */
ptrdiff_t ct__json_text(const uint8_t *value, size_t len, uint8_t *out, size_t cap);

/* The items of an array, one by one; *at is 0 before the first. Returns the length of the next one as it is written, with *value where
 * it begins; 0: there is none, or this is no array. Of what json may be, see ct__json_member. */
size_t ct__json_item(const uint8_t *json, size_t len, size_t *at, const uint8_t **value);

/* Writes text as a JSON string with its quotes; `out` holds 6 * len + 2. Returns the length. */
size_t ct__json_quote(uint8_t *out, const uint8_t *text, size_t len);

#endif
