/* ct-wasm LIBRARY ...: functions in WebAssembly, by wasmtime's library.
 *
 *   compile SOURCE DIR    compiles a module or component to a file below DIR
 *   serve                 the worker of one instance: its channel is descriptor 3, its built code is in /code
 *   host                  the worker of a tenant: descriptor 3 brings channels, whose code is below /tenant
 *
 * What serve and host load was left by compile, is comet's alone to write, and becomes code of the process. */

#define _GNU_SOURCE
#include "base/cursor.h"
#include "base/sysx.h"
#include "wasm/engine.h"
#include "wasm/host.h"
#include "wasm/instance.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { CHANNEL_FD = 3, USAGE = 64, FAILED = 1, ONE_CORE = 1000 };
enum { OWN_PERCENT = 70 }; /* chosen: the worker itself and its library hold 20 MiB */

int main(int argc, char **argv) {
    const char *act = argc > 2 ? argv[2] : "";
    const bool is_compile = strcmp(act, "compile") == 0 && argc == 5;
    if (!is_compile && !(argc == 3 && (strcmp(act, "serve") == 0 || strcmp(act, "host") == 0))) {
        (void)fputs("usage: ct-wasm LIBRARY compile SOURCE DIR | serve | host\n", stderr);
        return USAGE;
    }
    static ct__wasm_engine engine;
    static char why[CT__WASM_TEXT];
    const char *refused = ct__wasm_open(argv[1]);
    if (refused != NULL || ct__wasm_engine_init(&engine, why) < 0) {
        (void)fprintf(stderr, "ct-wasm: %s\n", refused != NULL ? refused : why);
        return FAILED;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    if (is_compile) {
        if (ct__wasm_compile(&engine, argv[3], argv[4], why) == 0)
            return 0;
        (void)fprintf(stderr, "%s\n", why);
        return FAILED;
    }
    if (strcmp(act, "serve") == 0)
        ct__wasm_serve(&engine, CHANNEL_FD, "/code", ONE_CORE, OWN_PERCENT);
    else
        ct__wasm_host(&engine, CHANNEL_FD);
    return 0;
}
