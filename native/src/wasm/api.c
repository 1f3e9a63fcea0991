#include "wasm/api.h"

#include <dlfcn.h>
#include <string.h>

ct__wasm_api ct__wasm;

const char *ct__wasm_open(const char *path) {
    static const char *const names[] = {
#define NAME(name, result, parameters) #name,
        CT__WASM_API(NAME)
#undef NAME
    };
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return dlerror();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *found = dlsym(library, names[i]);
        if (found == NULL)
            return dlerror();
        /* SAFETY: the struct is nothing but pointers to functions, in the order of the names; POSIX gives a function's address as void *. */
        memcpy((char *)&ct__wasm + i * sizeof found, (const void *)&found, sizeof found);
    }
    return NULL;
}
