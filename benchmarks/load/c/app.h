/* The application that all backends play, told by the request's target:
 *   /N     an answer of N bytes
 *   /echo  the request's body back
 *   else   the request's body is read to its end, the answer is two bytes */
#ifndef APP_H
#define APP_H

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct request {
    size_t head;     /* bytes of head, the empty line included */
    int64_t length;  /* content-length; 0 when there is none */
    int64_t answer;  /* bytes of the answer's body; -1: as many as come */
    int early;       /* the answer does not wait for the request's end */
};

static int64_t number_at(const char *p) {
    int64_t n = 0;
    while (isdigit((unsigned char)*p)) n = n * 10 + *p++ - '0';
    return n;
}

/* 1 when there is a whole head in n bytes. */
static int read_request(const uint8_t *bytes, size_t n, struct request *r) {
    const char *p = (const char *)bytes, *end, *field;
    const char *slash;
    end = memmem(p, n, "\r\n\r\n", 4);
    if (!end) return 0;
    r->head = end + 4 - p;
    r->length = 0;
    if (*p == 'P') /* POST, PUT: the others have no body here */
        for (field = p; (field = memchr(field, '\n', end - field)); field++)
            if (strncasecmp(field + 1, "content-length:", 15) == 0) {
                for (field += 16; *field == ' '; field++);
                r->length = number_at(field);
                break;
            }
    slash = memchr(p, '/', r->head);
    if (slash && isdigit((unsigned char)slash[1])) {
        r->answer = number_at(slash + 1);
        r->early = 1;
    } else if (slash && strncmp(slash, "/echo", 5) == 0) {
        r->answer = -1;
        r->early = 1;
    } else {
        r->answer = 2;
        r->early = 0;
    }
    return 1;
}

#endif
