/* What Swift sees of the worker: it imports no function that takes a varying number of arguments. */
#ifndef CONSTELLATION_SWIFT_SHIM_H
#define CONSTELLATION_SWIFT_SHIM_H

#include "constellation.h"

void ct__log_text(const ct_context *context, const char *level, const char *text);
void ct__fail_with(ct_answer *answer, const char *type, const char *message, const char *stack);

#endif
