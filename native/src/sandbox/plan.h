/* A plan as bytes: "CTPL", the scalars, then the strings, each u16 length, bytes and a NUL so that the kernel can
 * take them from where they lie. The struct itself, ct_plan, is in ct_abi.h: comet fills it. */
#ifndef CT_SANDBOX_PLAN_H
#define CT_SANDBOX_PLAN_H

#include "base/abi.h"

#include <stdbool.h>

enum {
    CT__PLAN_MAGIC = 0x4354504C,
    CT__HOSTNAME_MAX = 64,
    CT__SETUP_MS_MAX = 60000,
    CT__INSIDE_ID_MAX = 65533, /* 65534 stands for every unmapped id */
};

/* Absolute and in its only form: no empty, "." or ".." part, no slash at the end; "/" itself does not count. */
bool ct__is_path(const char *path);

#endif
