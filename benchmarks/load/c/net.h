/* Sockets for the load programs: one epoll set, one thread, what was read is worked off before the next read, and what
 * is to be sent leaves once per turn of the loop. Anything unexpected ends the program: a benchmark must not limp on. */
#ifndef NET_H
#define NET_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    READ_BLOCK = 256 * 1024, /* bytes taken by one read, shared by all connections */
    OUT_HIGH = 256 * 1024,   /* bytes waiting on a connection above which no body is produced for it */
};

struct conn {
    int fd; /* -1 once closed; the memory stays, connections are few */
    int dirty;
    int waits; /* the socket is full: EPOLLOUT is asked for */
    void (*on_bytes)(struct conn *, const uint8_t *, size_t, size_t *used);
    void (*on_room)(struct conn *); /* less than OUT_HIGH waits now; may be NULL */
    void (*on_lost)(struct conn *); /* may be NULL */
    uint8_t *left;                  /* bytes read and not used: a piece of a frame or head */
    size_t left_len, left_room;
    uint8_t *out;
    size_t out_at, out_len, out_room;
    struct conn *next_dirty;
};

static int epoll_fd = -1;
static struct conn *dirty_list;
static uint8_t read_block[READ_BLOCK * 2];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint8_t *out_reserve(struct conn *c, size_t n) {
    if (c->out_len + n > c->out_room) {
        if (c->out_at) {
            memmove(c->out, c->out + c->out_at, c->out_len - c->out_at);
            c->out_len -= c->out_at;
            c->out_at = 0;
        }
        if (c->out_len + n > c->out_room) {
            c->out_room = (c->out_len + n) * 2;
            c->out = realloc(c->out, c->out_room);
            if (!c->out) die("realloc");
        }
    }
    if (!c->dirty) {
        c->dirty = 1;
        c->next_dirty = dirty_list;
        dirty_list = c;
    }
    return c->out + c->out_len;
}

static void out_write(struct conn *c, const void *p, size_t n) {
    memcpy(out_reserve(c, n), p, n);
    c->out_len += n;
}

static size_t out_waiting(const struct conn *c) { return c->out_len - c->out_at; }

static void conn_watch(struct conn *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->fd, &event) < 0) die("epoll_ctl");
}

static void conn_close(struct conn *c) {
    if (c->fd < 0) return;
    close(c->fd);
    c->fd = -1;
    c->out_at = c->out_len = c->left_len = 0;
    if (c->on_lost) c->on_lost(c);
}

static void conn_flush(struct conn *c) {
    while (c->fd >= 0 && c->out_at < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            if (!c->waits) conn_watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            c->waits = 1;
            return;
        }
        if (n < 0) {
            conn_close(c);
            return;
        }
        c->out_at += n;
    }
    c->out_at = c->out_len = 0;
    if (c->fd >= 0 && c->waits) {
        conn_watch(c, EPOLL_CTL_MOD, EPOLLIN);
        c->waits = 0;
    }
}

/* Sends what collected in this turn; what on_room adds meanwhile is sent too. */
static void flush_dirty(void) {
    while (dirty_list) {
        struct conn *c = dirty_list;
        dirty_list = c->next_dirty;
        c->dirty = 0;
        if (!c->waits) conn_flush(c);
        if (c->fd >= 0 && c->on_room && out_waiting(c) < OUT_HIGH) c->on_room(c);
    }
}

static void conn_read(struct conn *c) {
    size_t have = c->left_len, used = 0;
    ssize_t n;
    if (have) memcpy(read_block, c->left, have);
    n = recv(c->fd, read_block + have, READ_BLOCK, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        conn_close(c);
        return;
    }
    have += n;
    c->on_bytes(c, read_block, have, &used);
    c->left_len = 0;
    if (c->fd >= 0 && used < have) {
        if (have - used > READ_BLOCK) die("more than a block is left over");
        if (have - used > c->left_room) {
            c->left_room = have - used;
            c->left = realloc(c->left, c->left_room);
            if (!c->left) die("realloc");
        }
        c->left_len = have - used;
        memcpy(c->left, read_block + used, c->left_len);
    }
}

static void conn_begin(struct conn *c, int fd) {
    int one = 1;
    c->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    conn_watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

static void net_begin(void) {
    struct rlimit files;
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) die("epoll_create1");
}

/* *port: 0 takes a free one, and says which. */
static int listen_on(int *port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(*port)};
    socklen_t size = sizeof address;
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
    if (listen(fd, 4096) < 0) die("listen");
    getsockname(fd, (struct sockaddr *)&address, &size);
    *port = ntohs(address.sin_port);
    return fd;
}

static int connect_to(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    address.sin_port = htons(port);
    if (fd < 0) die("socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) die("connect");
    return fd;
}

struct door {
    struct conn conn;
    void (*accepted)(int fd);
};

static void door_open(struct door *door, int fd, void (*accepted)(int)) {
    door->conn.fd = fd;
    door->accepted = accepted;
    conn_watch(&door->conn, EPOLL_CTL_ADD, EPOLLIN);
}

/* doors: the listening sockets, so that they can be told from connections. patience_ns: -1 waits for ever. */
static void net_turn(struct door *doors, int door_count, int64_t patience_ns) {
    struct epoll_event events[256];
    struct timespec patience = {.tv_sec = patience_ns / 1000000000, .tv_nsec = patience_ns % 1000000000};
    int n = epoll_pwait2(epoll_fd, events, 256, patience_ns < 0 ? NULL : &patience, NULL);
    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;
        struct door *door = NULL;
        for (int d = 0; d < door_count; d++)
            if (c == &doors[d].conn) door = &doors[d];
        if (door) {
            int fd;
            while ((fd = accept4(c->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) door->accepted(fd);
            continue;
        }
        if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) conn_read(c);
        if (c->fd >= 0 && events[i].events & EPOLLOUT) {
            conn_flush(c);
            if (c->fd >= 0 && c->on_room && out_waiting(c) < OUT_HIGH) c->on_room(c);
        }
    }
    flush_dirty();
}

#endif
