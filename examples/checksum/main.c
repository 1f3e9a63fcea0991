#include "crc32.h"

#include <constellation.h>
#include <stdlib.h>

/* The CRC-32 of a text, as zip and PNG have it, and whether it is the one that was expected. */
int handler(const char *event, size_t length, ct_context *context, ct_answer *answer) {
    char *text = malloc(length + 1), expected[16] = ""; /* a member is never longer than the event that it is in */
    if (text == NULL)
        return ct_fail(answer, "NoMemory", "no room for an event of %zu bytes", length);
    const long size = ct_event_text(event, "text", text, length + 1);
    if (size < 0) {
        free(text);
        return ct_fail(answer, "BadEvent", "there is no text in the event");
    }
    const uint32_t sum = crc32_of(text, (size_t)size);
    free(text);
    ct_addf(answer, "{\"crc32\": \"%08x\", \"bytes\": %ld", (unsigned)sum, size);
    if (ct_event_text(event, "expected", expected, sizeof expected) >= 0)
        ct_addf(answer, ", \"matches\": %s", strtoul(expected, NULL, 16) == sum ? "true" : "false");
    ct_add(answer, "}");
    return 0;
}
