/* Loaded before libc: makes the nth allocation fail that our own compiled modules ask for, and no other.

   A caller is ours when its return address lies in one of the ranges that failmalloc_own() was told. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#define RANGES 256

static struct { uintptr_t from, to; } ours[RANGES];
static int ranges;
static long countdown; /* 0: nothing fails */
static long fired;

void failmalloc_own(uintptr_t from, uintptr_t to) {
    if (ranges < RANGES) {
        ours[ranges].from = from;
        ours[ranges].to = to;
        ranges++;
    }
}

void failmalloc_arm(long nth) { countdown = nth; fired = 0; }
long failmalloc_fired(void) { return fired; }

static int fails(void *caller) {
    uintptr_t at = (uintptr_t)caller;
    if (countdown == 0) return 0;
    for (int i = 0; i < ranges; i++)
        if (at >= ours[i].from && at < ours[i].to) {
            if (--countdown) return 0;
            fired = 1;
            errno = ENOMEM;
            return 1;
        }
    return 0;
}

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

void *malloc(size_t n) { return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(p, n); }
