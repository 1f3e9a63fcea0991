#ifndef CT_BASE_ERR_H
#define CT_BASE_ERR_H

#include "base/abi.h"

#include <errno.h>

/* The errno of the call that just failed, as our return value. */
static inline int ct__errno(void) {
    return errno > 0 ? -errno : -EIO;
}

#endif
