#define _GNU_SOURCE
#include "edge/edge.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { HEAD_BYTES = 512 };

static void refill(ct_edge *edge) {
    size_t have = 0;
    while (have < sizeof edge->noise) {
        const ssize_t got = getrandom(edge->noise + have, sizeof edge->noise - have, 0);
        if (got > 0)
            have += (size_t)got; /* it fails only when interrupted: the size is right and the pool is ready since boot */
    }
    edge->noise_left = sizeof edge->noise;
}

void ct__edge_noise(ct_edge *edge, uint8_t *out, size_t len) {
    if (edge->noise_left < len)
        refill(edge);
    edge->noise_left -= len;
    memcpy(out, edge->noise + edge->noise_left, len);
    explicit_bzero(edge->noise + edge->noise_left, len);
}

void ct__edge_uuid(ct_edge *edge, char *out) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    const uint64_t ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    uint8_t id[16];
    for (int i = 0; i < 6; i++)
        id[i] = (uint8_t)(ms >> (40 - 8 * i));
    ct__edge_noise(edge, id + 6, 10);
    id[6] = (uint8_t)(0x70 | (id[6] & 0x0F));
    id[8] = (uint8_t)(0x80 | (id[8] & 0x3F));
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        *out++ = "0123456789abcdef"[id[i] >> 4];
        *out++ = "0123456789abcdef"[id[i] & 15];
    }
}

const char *ct__edge_date(ct_edge *edge) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != edge->date_s || edge->date[0] == '\0') {
        /* strftime would write the names of the process's locale. */
        static const char DAYS[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
        static const char MONTHS[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        struct tm t;
        (void)gmtime_r(&now.tv_sec, &t);
        (void)snprintf(edge->date, sizeof edge->date, "date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n", DAYS[t.tm_wday % 7],
                       t.tm_mday % 100, MONTHS[t.tm_mon % 12], (t.tm_year + 1900) % 10000, t.tm_hour % 100,
                       t.tm_min % 100, t.tm_sec % 100);
        edge->date_s = now.tv_sec;
    }
    return edge->date;
}

static const char JOIN[] = ",\"request_id\":\"";

size_t ct__problem_open(const uint8_t *problem, size_t len) {
    while (len > 0 && problem[len - 1] != '}')
        len--; /* blanks may stand behind an object */
    return len > 0 ? len - 1 : 0;
}

size_t ct__problem_room(size_t len) {
    return len + sizeof JOIN + CT__UUID_BYTES + 2;
}

size_t ct__problem_write(uint8_t *out, const uint8_t *problem, size_t len, const char *request_id) {
    uint8_t *at = out;
    memcpy(at, problem, len);
    at += len;
    memcpy(at, JOIN, sizeof JOIN - 1);
    at += sizeof JOIN - 1;
    memcpy(at, request_id, CT__UUID_BYTES);
    at += CT__UUID_BYTES;
    memcpy(at, "\"}", 2);
    return (size_t)(at + 2 - out);
}

/* Sends an answer whose body is a problem and the request's id. */
static void send_problem(ct__caller *c, const ct__problem *problem, const char *id, bool closes) {
    char head[HEAD_BYTES];
    const size_t body_len = problem->body_len + sizeof JOIN - 1 + CT__UUID_BYTES + 2;
    const int head_len = snprintf(head, sizeof head,
                                  "HTTP/1.1 %u \r\ncontent-type: application/problem+json\r\ncontent-length: %zu\r\n"
                                  "%s%sx-request-id: %.36s\r\n%s\r\n",
                                  problem->status, body_len, problem->fields != NULL ? problem->fields : "",
                                  closes ? "connection: close\r\n" : "", id, ct__edge_date(c->edge));
    uint8_t *room = head_len > 0 && head_len < HEAD_BYTES && ct__conn_write(&c->conn, head, (size_t)head_len) == 0
                        ? ct__conn_room(&c->conn, ct__problem_room(problem->body_len))
                        : NULL;
    if (room != NULL)
        ct__conn_wrote(&c->conn, ct__problem_write(room, problem->body, problem->body_len, id));
    if (room == NULL)
        ct__caller_close(c, true);
    else if (closes)
        ct__caller_finish(c);
    else
        ct__caller_next(c);
}

void ct__caller_refuse(ct__caller *c, enum ct_edge_refusal refusal, bool stays) {
    ct_edge *edge = c->edge;
    edge->counts.refused[refusal]++;
    char id[CT__UUID_BYTES];
    if (c->phase == CT__CALLING)
        memcpy(id, c->request_id, sizeof id);
    else
        ct__edge_uuid(edge, id);
    send_problem(c, &edge->problems[refusal], id, !stays || edge->is_stopping);
}

void ct__caller_pass_problem(ct__caller *c, const uint8_t *problem, size_t len, uint32_t status, long retry_s) {
    char fields[96] = "";
    if (status == 401)
        (void)snprintf(fields, sizeof fields, "www-authenticate: Bearer realm=\"constellation\"\r\n");
    else if (retry_s > 0)
        (void)snprintf(fields, sizeof fields, "retry-after: %ld\r\n", retry_s);
    const ct__problem passed = {
        .status = status, .body_len = ct__problem_open(problem, len), .body = (uint8_t *)(uintptr_t)problem, .fields = fields};
    send_problem(c, &passed, c->request_id, c->edge->is_stopping);
}
