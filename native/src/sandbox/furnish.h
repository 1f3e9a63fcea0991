#ifndef CT_SANDBOX_FURNISH_H
#define CT_SANDBOX_FURNISH_H

#include "base/abi.h"
#include "sandbox/step.h"

/* Furnishes the namespaces of a child that a nursery has cloned. The caller has made sure whose pidfd it is, and holds
 * power over the user namespace that owns them. The names that are looked up inside are safe whoever runs there: the
 * root is read-only and nobody inside may mount. Returns 0, or a negative number with *why filled. */
int ct__furnish(int pidfd, const ct_furnish *what, ct__failure *why);

#endif
