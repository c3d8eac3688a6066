/* An open-loop client: requests are due at a fixed rate whatever the answers do, and each one's time counts from when it
 * was due, so that a stall is charged to all who had to wait for it.
 *
 *     pace PORT TARGET CONNECTIONS RATE SECONDS
 *
 * Prints requests, seconds, and the 50th and 99th percentile in microseconds. */
#define _GNU_SOURCE
#include "net.h"

struct client {
    struct conn conn;
    int64_t due;         /* ns: when its request was due; 0 while it has none */
    int64_t body_left;   /* answer bytes still to come; -1: the head has not come */
    struct client *next; /* the idle ones */
};

static struct client *idle;
static char request[1024];
static int request_len;
static uint32_t *times; /* us */
static long answered, most;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void done(struct client *c) {
    if (answered < most) times[answered++] = (now_ns() - c->due) / 1000;
    c->due = 0;
    c->body_left = -1;
    c->next = idle;
    idle = c;
}

static void on_bytes(struct conn *conn, const uint8_t *p, size_t n, size_t *used) {
    struct client *c = (struct client *)conn;
    const char *end, *length;
    size_t at = 0;
    *used = n;
    if (c->body_left < 0) {
        end = memmem(p, n, "\r\n\r\n", 4);
        if (!end) {
            *used = 0;
            return;
        }
        if (memcmp(p, "HTTP/1.1 200", 12)) die("an answer other than 200");
        length = strcasestr((const char *)p, "content-length:");
        if (!length || length > end) die("an answer without content-length");
        c->body_left = atoll(length + 15);
        at = end + 4 - (const char *)p;
    }
    c->body_left -= n - at;
    if (c->body_left == 0) done(c);
}

static void on_lost(struct conn *conn) {
    (void)conn;
    die("a connection was closed");
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
    int64_t start, step, next;
    long sent = 0;
    if (argc != 6) die("pace PORT TARGET CONNECTIONS RATE SECONDS");
    most = atof(argv[4]) * atof(argv[5]);
    times = malloc(sizeof *times * (most + 1));
    request_len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", argv[2]);
    net_begin();
    for (int i = atoi(argv[3]); i > 0; i--) {
        struct client *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->conn.on_bytes = on_bytes;
        c->conn.on_lost = on_lost;
        c->body_left = -1;
        conn_begin(&c->conn, connect_to(atoi(argv[1])));
        c->next = idle;
        idle = c;
    }
    net_turn(NULL, 0, 100000000);
    start = now_ns();
    step = 1e9 / atof(argv[4]);
    next = start;
    while (answered < most) {
        int64_t now = now_ns();
        while (sent < most && next <= now && idle) {
            struct client *c = idle;
            idle = c->next;
            c->due = next;
            out_write(&c->conn, request, request_len);
            next += step;
            sent++;
        }
        flush_dirty();
        net_turn(NULL, 0, sent < most && idle ? (next > now ? next - now : 0) : 1000000000);
    }
    qsort(times, answered, sizeof *times, by_size);
    printf("%ld %.3f %u %u\n", answered, (now_ns() - start) / 1e9, times[answered / 2], times[answered * 99 / 100]);
}
