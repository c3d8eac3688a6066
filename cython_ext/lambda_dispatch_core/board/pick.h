/* Choosing an instance: the one loop of dispatch that looks at every one. */
#ifndef LAMBDA_DISPATCH_PICK
#define LAMBDA_DISPATCH_PICK

#include <stdint.h>

#if defined(__GNUC__) && !defined(__clang__)
#define LD_VECTORIZE __attribute__((optimize("O3")))
#else
#define LD_VECTORIZE
#endif

#define LD_BLOCK 64
#define LD_MOST_BLOCKS 64

/* What the choice goes by, least first: the fullest with fewer than `packs` requests, then the least busy. */
static inline int16_t ld_key(int16_t in_flight, int16_t packs) {
    return (int16_t)(in_flight < packs ? packs - 1 - in_flight : in_flight);
}

/* The least key among usable slots of one block, or more than any limit. The counters are read without
   atomics, so that the loop is vector code: a 16-bit load cannot tear, and a value that is out of date only makes
   this slot look a little better or worse; whether it is taken is decided by reserve(). */
LD_VECTORIZE static int16_t ld_least(const int16_t *restrict in_flight, const int16_t *restrict limits,
                                     const int16_t *restrict mask, int n, int16_t packs) {
    int16_t least = INT16_MAX;
    for (int i = 0; i < n; i++) {
        int16_t full = in_flight[i] >= limits[i] ? INT16_MAX : 0;
        int16_t key = (int16_t)(ld_key(in_flight[i], packs) | mask[i] | full);
        least = key < least ? key : least;
    }
    return least;
}

static inline int ld_is(const int16_t *in_flight, const int16_t *limits, const int16_t *mask, int i, int16_t packs,
                        int16_t v) {
    return ld_key(in_flight[i], packs) == v && mask[i] == 0 && in_flight[i] < limits[i];
}

/* Blocks first, each by ld_least; then only a block that holds the least is looked into, beginning at `turn`. */
static int ld_pick(const int16_t *in_flight, const int16_t *limits, const int16_t *mask, int count, int hint,
                   int turn, int16_t packs) {
    int16_t block_least[LD_MOST_BLOCKS];
    int16_t least = INT16_MAX;
    int blocks = 0;
    for (int at = 0; at + LD_BLOCK <= count; at += LD_BLOCK) {
        int16_t v = ld_least(in_flight + at, limits + at, mask + at, LD_BLOCK, packs);
        block_least[blocks++] = v;
        least = v < least ? v : least;
    }
    if (count % LD_BLOCK) {
        int at = blocks * LD_BLOCK;
        int16_t v = ld_least(in_flight + at, limits + at, mask + at, count - at, packs);
        block_least[blocks++] = v;
        least = v < least ? v : least;
    }
    if (least == INT16_MAX) return -1;
    if (hint >= 0 && hint < count && ld_is(in_flight, limits, mask, hint, packs, least)) return hint;
    if (turn >= count) turn = 0;
    int first = turn / LD_BLOCK;
    for (int b = 0; b <= blocks; b++) {
        int block = first + b < blocks ? first + b : first + b - blocks;
        if (block_least[block] != least) continue;
        int from = b == 0 ? turn : block * LD_BLOCK;
        int to = (block + 1) * LD_BLOCK < count ? (block + 1) * LD_BLOCK : count;
        if (b == blocks) to = turn;
        for (int i = from; i < to; i++)
            if (ld_is(in_flight, limits, mask, i, packs, least)) return i;
    }
    return -2;    /* a sibling changed it meanwhile */
}

#endif
