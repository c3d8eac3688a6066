/* As much HTTP/2 as a well-behaved peer on loopback needs: frames, windows, and bodies made up on the spot. Header blocks
 * of the other side are never decoded: the caller knows what will be asked. */
#ifndef H2_H
#define H2_H

#include "net.h"

enum {
    DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8, CONTINUATION = 9,
    END_STREAM = 1, END_HEADERS = 4, ACK = 1, PADDED = 8,
    FRAME_MAX = 16384,
    STREAM_WINDOW = 256 * 1024,
    MAX_STREAMS = 1024,
    NOT_YET = 0, UNDER_WAY = 1, DONE = 2,
};

struct stream {
    uint32_t id;
    int channel;
    int64_t window;       /* what the other side still takes */
    int64_t unreturned;   /* bytes received and not yet announced */
    int64_t body;         /* answer bytes still to be made up */
    int head_len;         /* bytes of answer head still to be sent; they stand in head[] */
    int answering;        /* NOT_YET, UNDER_WAY once the answer's head is known, DONE */
    int request_ended;
    int echoes;           /* each body byte received is owed back */
    char head[256];
};

struct h2 {
    struct conn conn;
    int64_t window, unreturned, initial;
    uint32_t next_id;
    int count, unfinished;          /* streams, and those UNDER_WAY */
    int turn;                       /* which of them is served first */
    struct stream *streams[MAX_STREAMS];
    void (*on_headers)(struct h2 *, uint32_t id, int end);
    void (*on_data)(struct h2 *, struct stream *, const uint8_t *, size_t); /* s->request_ended: the last of it */
    void (*on_over)(struct h2 *, struct stream *); /* both sides have ended; the stream is freed afterwards */
    void *owner;
};

static const char filler[FRAME_MAX] = {[0 ... FRAME_MAX - 1] = 'x'};

static void frame_head(uint8_t *to, uint32_t n, int type, int flags, uint32_t id) {
    to[0] = n >> 16, to[1] = n >> 8, to[2] = n, to[3] = type, to[4] = flags;
    to[5] = id >> 24, to[6] = id >> 16, to[7] = id >> 8, to[8] = id;
}

static void put32(uint8_t *to, uint32_t v) { to[0] = v >> 24, to[1] = v >> 16, to[2] = v >> 8, to[3] = v; }

static uint32_t get32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void h2_window(struct h2 *h, uint32_t id, uint32_t n) {
    uint8_t *to = out_reserve(&h->conn, 13);
    frame_head(to, 4, WINDOW_UPDATE, 0, id);
    put32(to + 9, n);
    h->conn.out_len += 13;
}

static void h2_settings(struct h2 *h) {
    uint8_t *to = out_reserve(&h->conn, 9 + 12);
    frame_head(to, 12, SETTINGS, 0, 0);
    to[9] = 0, to[10] = 3;
    put32(to + 11, MAX_STREAMS - 1);
    to[15] = 0, to[16] = 4;
    put32(to + 17, STREAM_WINDOW);
    h->conn.out_len += 9 + 12;
    h2_window(h, 0, 0x7fffffff - 65535);
}

static struct stream *h2_find(struct h2 *h, uint32_t id) {
    for (int i = 0; i < h->count; i++)
        if (h->streams[i]->id == id) return h->streams[i];
    return NULL;
}

static struct stream *h2_add(struct h2 *h, uint32_t id) {
    struct stream *s;
    if (h->count == MAX_STREAMS) die("too many streams");
    s = malloc(sizeof *s);
    if (!s) die("malloc");
    memset(s, 0, offsetof(struct stream, head));
    s->id = id;
    s->window = h->initial;
    h->streams[h->count++] = s;
    return s;
}

static void h2_remove(struct h2 *h, struct stream *s) {
    for (int i = 0; i < h->count; i++)
        if (h->streams[i] == s) {
            h->streams[i] = h->streams[--h->count];
            break;
        }
    if (s->answering == UNDER_WAY) h->unfinished--;
    free(s);
}

static void h2_check_over(struct h2 *h, struct stream *s) {
    if (s->answering == DONE && s->request_ended) {
        if (h->on_over) h->on_over(h, s);
        h2_remove(h, s);
    }
}

/* One frame of the answer, or the most that credit allows. 0 when nothing could be sent. */
static int h2_serve(struct h2 *h, struct stream *s) {
    int64_t n = s->head_len + s->body;
    int last;
    uint8_t *to;
    if (s->answering != UNDER_WAY || out_waiting(&h->conn) >= OUT_HIGH) return 0;
    last = !s->echoes || s->request_ended;
    if (n > FRAME_MAX) n = FRAME_MAX;
    if (n > s->window) n = s->window;
    if (n > h->window) n = h->window;
    if (n < s->head_len || (n <= 0 && !(last && s->body == 0 && s->head_len == 0))) return 0;
    to = out_reserve(&h->conn, 9 + n);
    memcpy(to + 9, s->head, s->head_len);
    memcpy(to + 9 + s->head_len, filler, n - s->head_len);
    s->body -= n - s->head_len;
    s->head_len = 0;
    last = last && s->body == 0;
    frame_head(to, n, DATA, last ? END_STREAM : 0, s->id);
    h->conn.out_len += 9 + n;
    s->window -= n;
    h->window -= n;
    if (last) {
        s->answering = DONE;
        h->unfinished--;
        h2_check_over(h, s);
    }
    return 1;
}

static void h2_pump(struct conn *c) {
    struct h2 *h = (struct h2 *)c;
    int moved = 1;
    while (moved && h->unfinished > 0 && out_waiting(c) < OUT_HIGH) {
        moved = 0;
        for (int i = 0; i < h->count && h->unfinished > 0; i++) {
            h->turn = h->turn + 1 < h->count ? h->turn + 1 : 0;
            moved |= h2_serve(h, h->streams[h->turn]);
        }
    }
}

/* The answer's head is in s->head; `body` bytes follow, or as many as come when it echoes. */
static void h2_answer(struct h2 *h, struct stream *s, int64_t body) {
    s->answering = UNDER_WAY;
    s->body = s->echoes ? 0 : body;
    h->unfinished++;
}

static void h2_settled(struct h2 *h, const uint8_t *p, uint32_t n) {
    for (; n >= 6; p += 6, n -= 6)
        if (p[0] == 0 && p[1] == 4) {
            int64_t more = (int64_t)get32(p + 2) - h->initial;
            h->initial += more;
            for (int i = 0; i < h->count; i++) h->streams[i]->window += more;
        }
    frame_head(out_reserve(&h->conn, 9), 0, SETTINGS, ACK, 0);
    h->conn.out_len += 9;
}

static void h2_frame(struct h2 *h, int type, int flags, uint32_t id, const uint8_t *p, uint32_t n) {
    struct stream *s;
    if (type == DATA) {
        h->unreturned += n;
        if (h->unreturned >= 1 << 24) {
            h2_window(h, 0, h->unreturned);
            h->unreturned = 0;
        }
        if (!(s = h2_find(h, id))) return;
        s->unreturned += n;
        if (s->unreturned >= STREAM_WINDOW / 2 && !(flags & END_STREAM)) {
            h2_window(h, id, s->unreturned);
            s->unreturned = 0;
        }
        if (flags & PADDED) die("padding is not expected");
        if (flags & END_STREAM) s->request_ended = 1;
        h->on_data(h, s, p, n);
        if (flags & END_STREAM) h2_check_over(h, s);
    } else if (type == HEADERS) {
        h->on_headers(h, id, flags & END_STREAM);
    } else if (type == SETTINGS && !(flags & ACK)) {
        h2_settled(h, p, n);
    } else if (type == WINDOW_UPDATE) {
        if (id == 0)
            h->window += get32(p);
        else if ((s = h2_find(h, id)))
            s->window += get32(p);
    } else if (type == PING && !(flags & ACK)) {
        uint8_t *to = out_reserve(&h->conn, 17);
        frame_head(to, 8, PING, ACK, 0);
        memcpy(to + 9, p, 8);
        h->conn.out_len += 17;
    } else if (type == RST_STREAM) {
        if ((s = h2_find(h, id))) {
            if (h->on_over) h->on_over(h, s);
            h2_remove(h, s);
        }
    }
}

static void h2_bytes(struct conn *c, const uint8_t *p, size_t n, size_t *used) {
    struct h2 *h = (struct h2 *)c;
    size_t at = 0;
    while (c->fd >= 0 && n - at >= 9) {
        uint32_t length = p[at] << 16 | p[at + 1] << 8 | p[at + 2];
        if (n - at < 9 + (size_t)length) break;
        h2_frame(h, p[at + 3], p[at + 4], get32(p + at + 5) & 0x7fffffff, p + at + 9, length);
        at += 9 + length;
    }
    *used = at;
    if (h->unfinished > 0) h2_pump(c);
}

static struct h2 *h2_new(void) {
    struct h2 *h = calloc(1, sizeof *h);
    if (!h) die("calloc");
    h->window = h->initial = 65535;
    h->next_id = 1;
    h->conn.on_bytes = h2_bytes;
    h->conn.on_room = h2_pump;
    return h;
}

#endif
