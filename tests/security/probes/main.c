/* Does natively what an event says, and answers with a text: what was read, "allowed", or the number of the error. */
#include <constellation.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

extern char **environ;

static int ended(ct_answer *answer, long result) {
    char text[32];
    snprintf(text, sizeof text, "errno %d", errno);
    ct_add_quoted(answer, result < 0 ? text : "allowed");
    return 0;
}

static int listed(ct_answer *answer, const char *directory) {
    DIR *found = opendir(directory);
    if (found == NULL) return ended(answer, -1);
    char names[4096] = "";
    size_t used = 0;
    for (struct dirent *each; (each = readdir(found)) != NULL && used + 256 + 2 < sizeof names;)
        if (each->d_name[0] != '.') used += (size_t)sprintf(names + used, "%s\n", each->d_name);
    closedir(found);
    ct_add_quoted(answer, names);
    return 0;
}

int handler(const char *event, size_t length, ct_context *context, ct_answer *answer) {
    (void)length, (void)context;
    char act[32] = "", at[512] = "", text[8192];
    ct_event_text(event, "do", act, sizeof act);
    ct_event_text(event, "at", at, sizeof at);
    if (strcmp(act, "exists") == 0) return ended(answer, access(at, F_OK));
    if (strcmp(act, "list") == 0) return listed(answer, at);
    if (strcmp(act, "read") == 0) {
        int fd = open(at, O_RDONLY);
        long got = fd < 0 ? -1 : read(fd, text, sizeof text);
        if (got < 0) return ended(answer, got);
        ct_add_quoted_bytes(answer, text, (size_t)got);
        return 0;
    }
    if (strcmp(act, "write") == 0) return ended(answer, open(at, O_WRONLY | O_CREAT, 0600));
    if (strcmp(act, "env") == 0) {
        size_t used = 0;
        for (char **each = environ; *each != NULL && used + strlen(*each) + 2 < sizeof text; each++)
            used += (size_t)sprintf(text + used, "%s\n", *each);
        ct_add_quoted_bytes(answer, text, used);
        return 0;
    }
    if (strcmp(act, "connect") == 0) {
        char address[64] = "";
        int port = 0;
        sscanf(at, "%63s %d", address, &port);
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        inet_pton(AF_INET, address, &to.sin_addr);
        return ended(answer, connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&to, sizeof to));
    }
    if (strcmp(act, "syscall") == 0) {
        long n[7] = {0};
        sscanf(at, "%ld %ld %ld %ld %ld %ld %ld", n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6);
        return ended(answer, syscall(n[0], n[1], n[2], n[3], n[4], n[5], n[6]));
    }
    return ct_fail(answer, "Unknown", "%s", act);
}
