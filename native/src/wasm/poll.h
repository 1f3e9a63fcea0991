/* WASI's poll_oneoff, ours: the library's would sleep in the kernel for as long as the guest says, deaf to the end of its time. */
#ifndef CT_WASM_POLL_H
#define CT_WASM_POLL_H

#include "wasm/api.h"

/* Puts it in the place of the library's. Returns NULL or the error. Stores that use it have a ct__wasm_call as their data. */
wasm_error *ct__wasm_poll_define(wasm_linker *linker);

#endif
