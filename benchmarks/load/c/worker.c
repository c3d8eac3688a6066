/* The application of an emulated environment: one worker that gives its time to its requests in turns, and sleeps instead
 * of computing, so that a machine with few CPUs can carry the environments of many. It is slowed by nothing but its own
 * queue: when this machine wakes it late, what was due meanwhile is done at once.
 *
 *     GET  /busy/US/BYTES   an answer of BYTES, for which the worker needs US microseconds
 *     POST /echo/US         the body back, for which it needs US
 *     else                  two bytes at once (GET /health)
 *
 * Listens on 127.0.0.1 at PORT. A body needs its share of the time for each SLICE of it, and streams. */
#define _GNU_SOURCE
#include <ctype.h>

#include "net.h"

enum { SLICE = 64 * 1024 };

struct job {
    struct conn conn;
    int64_t length, received; /* the request's body */
    int64_t answer, sent;     /* the answer's */
    int64_t slice_ns;         /* of the worker's time */
    int64_t ready_at;         /* since when the next slice can be done; 0 while its bytes have not come */
    int active, head_sent, echoes;
    struct job *next;
};

static struct job *first, *last; /* whose turn it is next */
static struct job *current;      /* under way until due */
static int64_t due, free_since;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int64_t number_after(const char *p, char mark, const char *end) {
    int64_t n = 0;
    p = p ? memchr(p, mark, end - p) : NULL;
    if (p)
        for (p++; p < end && isdigit((unsigned char)*p); p++) n = n * 10 + *p - '0';
    return n;
}

static void line_up(struct job *j) {
    j->next = NULL;
    if (last) last->next = j;
    else first = j;
    last = j;
}

static void leave(struct job *j) {
    struct job **at = &first, *before = NULL;
    for (; *at; before = *at, at = &(*at)->next)
        if (*at == j) {
            *at = j->next;
            if (last == j) last = before;
            return;
        }
}

static int64_t next_end(const struct job *j) { return j->answer - j->sent < SLICE ? j->answer : j->sent + SLICE; }

static void look_ready(struct job *j) {
    if (!j->ready_at && j->received >= (j->echoes ? next_end(j) : j->length)) j->ready_at = now_ns();
}

static void send_slice(struct job *j) {
    static const char filler[SLICE] = {[0 ... SLICE - 1] = 'x'};
    int64_t end = next_end(j);
    char head[128];
    if (!j->head_sent) {
        int n = sprintf(head, "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %lld\r\n\r\n", (long long)j->answer);
        out_write(&j->conn, head, n);
        j->head_sent = 1;
    }
    out_write(&j->conn, filler, end - j->sent);
    j->sent = end;
    j->ready_at = 0;
}

static void begin(struct job *j, int64_t work_us) {
    j->slice_ns = work_us * 1000 / (j->answer > SLICE ? (j->answer + SLICE - 1) / SLICE : 1);
    j->active = 1;
    j->received = j->sent = j->ready_at = 0;
    j->head_sent = 0;
    line_up(j);
}

static void on_bytes(struct conn *c, const uint8_t *bytes, size_t n, size_t *used) {
    struct job *j = (struct job *)c;
    const char *p = (const char *)bytes, *end, *field;
    size_t at = 0;
    *used = n;
    if (!j->active) {
        end = memmem(p, n, "\r\n\r\n", 4);
        if (!end) {
            *used = 0;
            return;
        }
        at = end + 4 - p;
        field = strcasestr(p, "\r\ncontent-length:");
        j->length = field && field < end ? atoll(field + 17) : 0;
        j->echoes = memcmp(p, "POST /echo/", 11) == 0;
        if (j->echoes) {
            j->answer = j->length;
            begin(j, number_after(p + 10, '/', end));
        } else if (memcmp(p, "GET /busy/", 10) == 0) {
            j->answer = number_after(p + 10, '/', end);
            begin(j, number_after(p + 9, '/', end));
        } else {
            out_write(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", 40);
            return;
        }
    }
    j->received += n - at;
    look_ready(j);
}

static void on_lost(struct conn *c) {
    struct job *j = (struct job *)c;
    if (j == current) current = NULL;
    else leave(j);
    j->active = 0;
}

static void accepted(int fd) {
    struct job *j = calloc(1, sizeof *j);
    if (!j) die("calloc");
    j->conn.on_bytes = on_bytes;
    j->conn.on_lost = on_lost;
    conn_begin(&j->conn, fd);
}

/* Does what is due; how long nothing will be, -1 while there is nothing to do. */
static int64_t work(void) {
    for (;;) {
        int64_t now = now_ns();
        if (current) {
            struct job *j = current;
            if (now < due) return due - now;
            free_since = due;
            current = NULL;
            send_slice(j);
            if (j->sent == j->answer) {
                j->active = 0;
            } else {
                look_ready(j);
                line_up(j);
            }
        }
        for (current = first; current && !current->ready_at; current = current->next);
        if (!current) return -1;
        leave(current);
        due = (current->ready_at > free_since ? current->ready_at : free_since) + current->slice_ns;
    }
}

int main(void) {
    struct door door = {.conn.fd = -1};
    const char *given = getenv("PORT");
    int port = given ? atoi(given) : 0;
    net_begin();
    door_open(&door, listen_on(&port), accepted);
    for (;;) {
        int64_t wait = work();
        flush_dirty();
        net_turn(&door, 1, wait);
    }
}
