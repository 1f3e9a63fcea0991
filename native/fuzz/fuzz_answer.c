/* Any bytes as an answer: within the buffer, and whole only once: every shorter piece asks for more. */
#include "base/abi.h"
#include "load/answer.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > LONGEST)
        return 0;
    uint8_t *buf = malloc(size > 0 ? size : 1);
    must(buf != NULL);
    memcpy(buf, data, size);
    ct__answer answer;
    const int result = ct__answer_split(buf, size, &answer);
    must(result == 0 || result == CT_E_MORE || result == CT_E_MALFORMED || result == CT_E_TOOBIG);
    if (result != 0)
        must(memcmp(buf, data, size) == 0); /* nothing was moved */
    if (result == 0) {
        must(answer.status >= 200 && answer.status <= 999);
        must(answer.used <= size && answer.body >= buf && answer.body_len <= (size_t)(buf + size - answer.body));
        const size_t used = answer.used;
        memcpy(buf, data, size);
        must(ct__answer_split(buf, used, &answer) == 0 && answer.used == used);
        memcpy(buf, data, size);
        must(ct__answer_split(buf, used - 1, &answer) == CT_E_MORE);
    }
    free(buf);
    return 0;
}
