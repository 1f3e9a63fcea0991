/* ct_abi.h for C: it has no includes and no guard of its own, since cffi reads it too. */
#ifndef CT_BASE_ABI_H
#define CT_BASE_ABI_H

#include <stddef.h>
#include <stdint.h>

#include "ct_abi.h" /* IWYU pragma: export */

#endif
