// @name@: called with the request's JSON; what it adds to the answer becomes the answer's `output`.
#include <constellation.h>
#include <stdio.h>

int handler(const char *event, size_t length, ct_context *context, ct_answer *answer) {
    char name[256] = "world", message[300];
    ct_event_text(event, "name", name, sizeof name);
    printf("greeting %s\n", name); // shown by `orbit logs @name@`
    snprintf(message, sizeof message, "Hello, %s!", name);
    ct_add(answer, "{\"message\":");
    ct_add_quoted(answer, message);
    ct_add(answer, "}");
    return 0;
}
