/* The application behind the other proxies, fast enough not to matter.
 *
 *     backend h1              HTTP/1.1 with keep-alive; app.h says what is answered
 *     backend h2 BYTES|echo   HTTP/2 with prior knowledge; header blocks are not decoded, so the answer is the same to all
 *
 * Prints its port, then serves. */
#define _GNU_SOURCE
#include <stddef.h>

#include "app.h"
#include "h2.h"

static int64_t fixed; /* h2: bytes of every answer; -1: echo */

struct h1 {
    struct conn conn;
    int64_t left;       /* of the request's body */
    int64_t body;       /* answer bytes still to be made up */
    int echoes, answer_after;
};

static void h1_room(struct conn *c) {
    struct h1 *h = (struct h1 *)c;
    while (h->body > 0 && out_waiting(c) < OUT_HIGH) {
        int64_t n = h->body < FRAME_MAX ? h->body : FRAME_MAX;
        out_write(c, filler, n);
        h->body -= n;
    }
}

static void h1_answer(struct h1 *h, int64_t length, int64_t body) {
    char head[128];
    int n = sprintf(head, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %lld\r\n\r\n", (long long)length);
    out_write(&h->conn, head, n);
    h->body += body;
    h1_room(&h->conn);
}

static void h1_bytes(struct conn *c, const uint8_t *p, size_t n, size_t *used) {
    struct h1 *h = (struct h1 *)c;
    struct request r;
    size_t at = 0;
    while (at < n) {
        if (h->left) {
            int64_t part = h->left < (int64_t)(n - at) ? h->left : (int64_t)(n - at);
            at += part;
            h->left -= part;
            if (h->echoes) {
                h->body += part;
                h1_room(c);
            }
            if (!h->left && h->answer_after) h1_answer(h, 2, 2);
            continue;
        }
        if (!read_request(p + at, n - at, &r)) break;
        at += r.head;
        h->left = r.length;
        h->echoes = r.answer < 0;
        h->answer_after = !r.early && r.length;
        if (h->echoes) h1_answer(h, r.length, 0);
        else if (!h->answer_after) h1_answer(h, r.answer, r.answer);
    }
    *used = at;
}

static void h1_accepted(int fd) {
    struct h1 *h = calloc(1, sizeof *h);
    if (!h) die("calloc");
    h->conn.on_bytes = h1_bytes;
    h->conn.on_room = h1_room;
    conn_begin(&h->conn, fd);
}

struct server {
    struct h2 h2;
    int preface; /* bytes of it still to come */
};

static void h2_begin_answer(struct h2 *h, struct stream *s) {
    uint8_t *to = out_reserve(&h->conn, 64);
    char length[24];
    int n;
    to[9] = 0x88;        /* :status 200 */
    to[10] = 0x0f;       /* content-type: 15 + 16 */
    to[11] = 16;
    to[12] = 10;
    memcpy(to + 13, "text/plain", 10);
    n = 23 - 9;
    if (fixed >= 0) {
        int digits = sprintf(length, "%lld", (long long)fixed);
        to[23] = 0x0f;   /* content-length: 15 + 13 */
        to[24] = 13;
        to[25] = digits;
        memcpy(to + 26, length, digits);
        n += 3 + digits;
    }
    frame_head(to, n, HEADERS, END_HEADERS, s->id);
    h->conn.out_len += 9 + n;
    s->echoes = fixed < 0;
    h2_answer(h, s, fixed);
}

static void server_headers(struct h2 *h, uint32_t id, int end) {
    struct stream *s = h2_find(h, id);
    if (s) return; /* trailers */
    s = h2_add(h, id);
    s->request_ended = end;
    if (end || fixed < 0) h2_begin_answer(h, s);
}

static void server_data(struct h2 *h, struct stream *s, const uint8_t *p, size_t n) {
    (void)p;
    if (s->echoes) s->body += n;
    if (s->request_ended && s->answering == NOT_YET) h2_begin_answer(h, s);
}

static void server_bytes(struct conn *c, const uint8_t *p, size_t n, size_t *used) {
    struct server *server = (struct server *)c;
    size_t skip = 0;
    if (server->preface) {
        if (n < 24) {
            *used = 0;
            return;
        }
        skip = 24;
        server->preface = 0;
        h2_settings(&server->h2);
    }
    h2_bytes(c, p + skip, n - skip, used);
    *used += skip;
}

static void h2_accepted(int fd) {
    struct server *server = calloc(1, sizeof *server);
    struct h2 *fresh = h2_new();
    if (!server) die("calloc");
    server->h2 = *fresh;
    free(fresh);
    server->preface = 24;
    server->h2.conn.on_bytes = server_bytes;
    server->h2.on_headers = server_headers;
    server->h2.on_data = server_data;
    conn_begin(&server->h2.conn, fd);
}

int main(int argc, char **argv) {
    struct door door = {.conn.fd = -1};
    int port = 0;
    int h2 = argc > 2 && strcmp(argv[1], "h2") == 0;
    if (argc < 2) die("backend h1 | backend h2 BYTES|echo");
    if (h2) fixed = strcmp(argv[2], "echo") == 0 ? -1 : atoll(argv[2]);
    net_begin();
    door_open(&door, listen_on(&port), h2 ? h2_accepted : h1_accepted);
    printf("%d\n", port);
    fflush(stdout);
    for (;;) net_turn(&door, 1, -1);
}
