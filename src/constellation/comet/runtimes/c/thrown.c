/* In front of the C++ library's own __cxa_throw, to know where an exception comes from. */

#define _GNU_SOURCE
#include "thrown.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <stdlib.h>

__thread void *ct__thrown_at[CT__THROWN_FRAMES];
__thread int ct__thrown_count;

void __cxa_throw(void *thrown, void *type, void (*destroy)(void *));

void __cxa_throw(void *thrown, void *type, void (*destroy)(void *)) {
    void *symbol = dlsym(RTLD_NEXT, "__cxa_throw");
    void (*library)(void *, void *, void (*)(void *));
    /* SAFETY: POSIX gives dlsym's pointer the size of a function's; C alone does not convert it. */
    *(void **)&library = symbol;
    ct__thrown_count = backtrace(ct__thrown_at, CT__THROWN_FRAMES);
    library(thrown, type, destroy);
    abort();
}
