/* Instances and the Lambda that runs them, fast enough not to matter.
 *
 *     instances [PORT]
 *
 * Listens for Invoke calls; each opens one connection to the router's control port and parks its channels there, as
 * docs say an extension does. The invoke is answered when that connection ends. Prints its port, then serves. */
#define _GNU_SOURCE
#include <stddef.h>

#include "app.h"
#include "h2.h"

enum { CHANNELS = 255, ID = 36, BLOCK_ROOM = 512 };

struct invoke {
    struct conn conn; /* the Invoke call */
    struct instance *instance;
};

struct instance {
    struct h2 h2;
    struct invoke *invoke;
    char id[ID + 1], authority[64];
    int channels, stopping, spoken;
    char channel_ids[CHANNELS][ID + 1];
};

static uint8_t *text(uint8_t *to, const char *s, size_t n) {
    *to++ = n; /* all of ours are shorter than 127 */
    memcpy(to, s, n);
    return to + n;
}

/* The first request of a connection puts what will be said again into the compression table; its entries, newest first:
 * 62 x-channel-id, 63 x-lambda-id, 64 content-type, 65 :authority. Nothing is added later, so the numbers stay. */
static void park(struct instance *in, int channel) {
    uint8_t block[BLOCK_ROOM], *to = block;
    char path[128];
    int n;
    struct stream *s;
    if (in->stopping) return;
    s = h2_add(&in->h2, in->h2.next_id);
    s->channel = channel;
    in->h2.next_id += 2;
    *to++ = 0x83; /* :method POST */
    *to++ = 0x86; /* :scheme http */
    n = sprintf(path, "/api/chunked/request/%s/%s", in->id, in->channel_ids[channel]);
    *to++ = 0x04; /* :path, not indexed */
    to = text(to, path, n);
    if (!in->spoken) {
        in->spoken = 1;
        *to++ = 0x41;
        to = text(to, in->authority, strlen(in->authority));
        *to++ = 0x40 | 31;
        to = text(to, "application/octet-stream", 24);
        *to++ = 0x40;
        to = text(to, "x-lambda-id", 11);
        to = text(to, in->id, ID);
        *to++ = 0x40;
        to = text(to, "x-channel-id", 12);
        to = text(to, in->channel_ids[channel], ID);
    } else {
        *to++ = 0x80 | 65;
        *to++ = 0x80 | 64;
        *to++ = 0x80 | 63;
        *to++ = 0x0f; /* name 62, value not indexed: 15 + 47 */
        *to++ = 47;
        to = text(to, in->channel_ids[channel], ID);
    }
    n = to - block;
    to = out_reserve(&in->h2.conn, 9 + n);
    frame_head(to, n, HEADERS, END_HEADERS, s->id);
    memcpy(to + 9, block, n);
    in->h2.conn.out_len += 9 + n;
}

static void on_headers(struct h2 *h, uint32_t id, int end) {
    struct instance *in = (struct instance *)h;
    if (end) { /* no channel: this instance is closing */
        struct stream *s = h2_find(h, id);
        in->stopping = 1;
        if (s) h2_remove(h, s);
    }
}

static void on_data(struct h2 *h, struct stream *s, const uint8_t *p, size_t n) {
    struct instance *in = (struct instance *)h;
    struct request r;
    if (s->head_len == 0 && s->answering == NOT_YET) {
        int64_t body;
        if (n == 0) return;
        if (!read_request(p, n, &r)) die("a request head in pieces is not expected");
        if (memmem(p, r.head, "/_lambda_dispatch/goaway", 24)) {
            in->stopping = 1;
            return;
        }
        s->echoes = r.answer < 0;
        body = r.answer < 0 ? r.length : r.answer;
        s->head_len = sprintf(s->head,
                              "HTTP/1.1 200 OK\r\nX-Lambda-Id: %s\r\nX-Channel-Id: %s\r\nContent-Type: text/plain\r\n"
                              "Content-Length: %lld\r\n\r\n",
                              in->id, in->channel_ids[s->channel], (long long)body);
        if (r.early || s->request_ended) {
            h2_answer(h, s, body);
            if (s->echoes) s->body = n - r.head;
        }
        return;
    }
    if (s->echoes) s->body += n;
    else if (s->answering == NOT_YET && s->request_ended) h2_answer(h, s, 2);
}

static void on_over(struct h2 *h, struct stream *s) { park((struct instance *)h, s->channel); }

static void instance_lost(struct conn *c) {
    struct instance *in = (struct instance *)c;
    static const char answer[] = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    if (in->invoke && in->invoke->conn.fd >= 0) out_write(&in->invoke->conn, answer, sizeof answer - 1);
    while (in->h2.count) h2_remove(&in->h2, in->h2.streams[0]);
}

static const char *member(const char *json, const char *name) {
    const char *p = strstr(json, name);
    if (!p) return NULL;
    for (p += strlen(name); *p == '"' || *p == ':' || *p == ' '; p++);
    return p;
}

static void invoked(struct invoke *v, char *json) {
    const char *url = member(json, "DispatcherUrl"), *id = member(json, "\"Id"), *count = member(json, "NumberOfChannels");
    const char *host, *port;
    struct instance *in = calloc(1, sizeof *in);
    struct h2 *fresh = h2_new();
    if (!in || !url || !id || !count) die("a payload that is not an invoke's");
    in->h2 = *fresh;
    free(fresh);
    in->invoke = v;
    v->instance = in;
    memcpy(in->id, id, ID);
    in->channels = number_at(count);
    host = strstr(url, "://");
    if (!host) die("a DispatcherUrl without a host");
    host += 3;
    port = strchr(host, ':');
    if (!port) die("a DispatcherUrl without a port");
    snprintf(in->authority, sizeof in->authority, "%.*s", (int)strcspn(host, "/"), host);
    in->h2.on_headers = on_headers;
    in->h2.on_data = on_data;
    in->h2.on_over = on_over;
    in->h2.conn.on_lost = instance_lost;
    conn_begin(&in->h2.conn, connect_to(number_at(port + 1)));
    in->h2.conn.waits = 1; /* until it is connected */
    conn_watch(&in->h2.conn, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    out_write(&in->h2.conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    h2_settings(&in->h2);
    for (int i = 0; i < in->channels; i++) {
        sprintf(in->channel_ids[i], "%08x-0000-4000-8000-%012x", i + 1, i + 1);
        park(in, i);
    }
}

static void invoke_bytes(struct conn *c, const uint8_t *p, size_t n, size_t *used) {
    struct request r;
    char json[4096];
    *used = 0;
    if (!read_request(p, n, &r) || n < r.head + r.length) return;
    if (r.length >= (int64_t)sizeof json) die("a payload that long is not an invoke's");
    memcpy(json, p + r.head, r.length);
    json[r.length] = 0;
    *used = r.head + r.length;
    invoked((struct invoke *)c, json);
}

static void invoke_lost(struct conn *c) {
    struct invoke *v = (struct invoke *)c;
    if (v->instance) v->instance->invoke = NULL;
}

static void accepted(int fd) {
    struct invoke *v = calloc(1, sizeof *v);
    if (!v) die("calloc");
    v->conn.on_bytes = invoke_bytes;
    v->conn.on_lost = invoke_lost;
    conn_begin(&v->conn, fd);
}

int main(int argc, char **argv) {
    struct door door = {.conn.fd = -1};
    int port = argc > 1 ? atoi(argv[1]) : 0;
    net_begin();
    door_open(&door, listen_on(&port), accepted);
    printf("%d\n", port);
    fflush(stdout);
    for (;;) net_turn(&door, 1, -1);
}
