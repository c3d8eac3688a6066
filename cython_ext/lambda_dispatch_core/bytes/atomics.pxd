"""Loads, stores and read-modify-writes on words that several processes share, as GCC and Clang spell them.

Header-only. `get` is an acquire load, `put` a release store; both are plain moves on x86. Everything that reads and
writes in one step is sequentially consistent: it happens once per request at most, and the board's proofs lean on it.
A word written by one process alone is bumped with `put(p, p[0] + 1)`, never with a locked add.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint32_t, uint64_t


cdef extern from *:
    """
    #ifndef LAMBDA_DISPATCH_ATOMICS
    #define LAMBDA_DISPATCH_ATOMICS
    #include <stdint.h>

    #define LD_ATOMIC(name, type) \\
        static inline type ld_get_##name(const type *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); } \\
        static inline void ld_put_##name(type *p, type v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); } \\
        static inline type ld_add_##name(type *p, type v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); } \\
        static inline int ld_swap_##name(type *p, type was, type to) { \\
            return __atomic_compare_exchange_n(p, &was, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); }

    LD_ATOMIC(i16, int16_t)
    LD_ATOMIC(i32, int32_t)
    LD_ATOMIC(i64, int64_t)
    LD_ATOMIC(u32, uint32_t)
    LD_ATOMIC(u64, uint64_t)

    static inline uint32_t ld_or_u32(uint32_t *p, uint32_t v) { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); }
    static inline void ld_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    #endif
    """
    int16_t get16 "ld_get_i16"(const int16_t* p) noexcept nogil
    int32_t get32 "ld_get_i32"(const int32_t* p) noexcept nogil
    int64_t get64 "ld_get_i64"(const int64_t* p) noexcept nogil
    uint32_t getu32 "ld_get_u32"(const uint32_t* p) noexcept nogil
    uint64_t getu64 "ld_get_u64"(const uint64_t* p) noexcept nogil

    void put16 "ld_put_i16"(int16_t* p, int16_t v) noexcept nogil
    void put32 "ld_put_i32"(int32_t* p, int32_t v) noexcept nogil
    void put64 "ld_put_i64"(int64_t* p, int64_t v) noexcept nogil
    void putu32 "ld_put_u32"(uint32_t* p, uint32_t v) noexcept nogil
    void putu64 "ld_put_u64"(uint64_t* p, uint64_t v) noexcept nogil

    # Add and return what was there before.
    int16_t add16 "ld_add_i16"(int16_t* p, int16_t v) noexcept nogil
    int32_t add32 "ld_add_i32"(int32_t* p, int32_t v) noexcept nogil
    int64_t add64 "ld_add_i64"(int64_t* p, int64_t v) noexcept nogil
    uint32_t addu32 "ld_add_u32"(uint32_t* p, uint32_t v) noexcept nogil
    uint64_t addu64 "ld_add_u64"(uint64_t* p, uint64_t v) noexcept nogil
    uint32_t oru32 "ld_or_u32"(uint32_t* p, uint32_t v) noexcept nogil

    # True when *p was `was` and now is `to`; False, and nothing changed, otherwise.
    bint swap16 "ld_swap_i16"(int16_t* p, int16_t was, int16_t to) noexcept nogil
    bint swap64 "ld_swap_i64"(int64_t* p, int64_t was, int64_t to) noexcept nogil
    bint swapu32 "ld_swap_u32"(uint32_t* p, uint32_t was, uint32_t to) noexcept nogil
    bint swapu64 "ld_swap_u64"(uint64_t* p, uint64_t was, uint64_t to) noexcept nogil

    void fence "ld_fence"() noexcept nogil
