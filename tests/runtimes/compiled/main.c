#include <constellation.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int calls;

static int sink(ct_answer *answer, const char *what) {
    return ct_fail(answer, "Mishap", "the reason: %s", what);
}

int handler(const char *event, size_t length, ct_context *context, ct_answer *answer) {
    char what[32] = "", text[256] = "";
    ct_event_text(event, "do", what, sizeof what);
    ct_event_text(event, "text", text, sizeof text);
    calls++;
    if (strcmp(what, "echo") == 0) {
        ct_add_quoted(answer, text);
    } else if (strcmp(what, "fail") == 0) {
        return sink(answer, text);
    } else if (strcmp(what, "print") == 0) {
        printf("out %s\n", text);
        fprintf(stderr, "err %s\n", text);
        ct_log(context, "INFO", "logged %s", text);
        printf("unended");
    } else if (strcmp(what, "flood") == 0) {
        for (int i = 0; i < 200000; i++)
            printf("line %d of many that nobody will read\n", i);
        ct_add(answer, "\"done\"");
    } else if (strcmp(what, "sleep") == 0) {
        sleep(600);
    } else if (strcmp(what, "exit") == 0) {
        exit(3);
    } else if (strcmp(what, "die") == 0) {
        abort();
    } else if (strcmp(what, "big") == 0) {
        char *filled = malloc(atoi(text) + 1);
        memset(filled, 'x', atoi(text));
        ct_add_quoted_bytes(answer, filled, atoi(text));
        free(filled);
    } else if (strcmp(what, "size") == 0) {
        ct_addf(answer, "%zu", length);
    } else if (strcmp(what, "stream") == 0) {
        ct_chunk(answer, "one", 3);
        ct_chunk(answer, "tw\"o", 4);
        ct_chunk(answer, "drei \xc3\xbc", 7);
    } else if (strcmp(what, "calls") == 0) {
        ct_addf(answer, "%d", calls);
    } else if (strcmp(what, "env") == 0) {
        ct_add_quoted(answer, getenv("COLOUR"));
    } else if (strcmp(what, "invalid") == 0) {
        ct_add(answer, "{no json");
    } else if (strcmp(what, "context") == 0) {
        ct_addf(answer, "{\"request_id\":\"%s\",\"function_name\":\"%s\",\"function_version\":\"%s\",\"tenant\":\"%s\",",
                context->request_id, context->function_name, context->function_version, context->tenant);
        ct_addf(answer, "\"namespace\":\"%s\",\"memory_limit_mb\":%u,\"traceparent\":\"%s\",\"remaining_ms\":%u,\"deadline\":%.3f}",
                context->namespace_name, context->memory_limit_mb, context->traceparent, ct_remaining_ms(context), context->deadline);
    }
    return 0;
}
