#include "shim.h"

void ct__log_text(const ct_context *context, const char *level, const char *text) {
    ct_log(context, level, "%s", text);
}
