"""The board as a file format: constants, and each section's struct. In words: docs/shared-memory.md.

A test compares the structs with the tables of that page; every field stands where C puts it without padding.
Times are monotonic nanoseconds unless the name says wall.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy


cpdef enum:
    BOARD_VERSION = 14
    MAX_WORKERS = 128           # worker slots; twice the workers, because a rolling restart runs two for one
    MAX_INSTANCES = 4096        # instance slots; scans and the index are sized for it
    MAX_POOLS = 64
    POOL_NAME = 256             # bytes: the longest function ARN with a qualifier is shorter
    DECISIONS = 2048            # the scaler's last decisions that are kept
    DECISION_TEXT = 32          # bytes: what held starts back
    DECISION_INPUTS = 50        # numbers: what a decision can be taken again from
    LIVES = 4096                # the last instances that ended and are kept
    BUCKETS = 106               # of a histogram; see time_bucket()
    OUTCOMES = 20               # code class * REASONS + reason
    REASONS = 4
    WORDS = 64                  # error words that are counted; the last takes all beyond
    GRPC_STATUSES = 18          # of gRPC calls: OK (0) to UNAUTHENTICATED (16), and none
    EXITS = 24                  # ways in which an invoke ends that are counted
    CAUSES = 24                 # directions and reasons by which decisions are counted
    OVERRIDES = 8               # kinds of override, below; one record of each per pool, and a row for the router
    OVERRIDE_WHO = 48           # bytes
    OVERRIDE_REASON = 144
    NOT_USABLE = 0x7FFF         # in a pick mask: leave this slot out

    WORKER_FREE = 0             # free
    WORKER_BOOTING = 1          # started, does not accept yet
    WORKER_READY = 2            # accepts and serves
    WORKER_DRAINING = 3         # finishes what it has, takes no new connection
    WORKER_GONE = 4             # its process ended; the supervisor is returning what it held

    INSTANCE_FREE = 0           # free
    INSTANCE_STARTING = 1       # invoked; no channel has been seen yet
    INSTANCE_OPEN = 2           # its first channel was parked; takes requests
    INSTANCE_DRAINING = 3       # takes none, except as the last resort before goaway_at; finishes what it has
    INSTANCE_CLOSED = 4         # its invoke has ended; everything still held of it is lost and to be given back

    POOL_FREE = 0
    POOL_ACTIVE = 1
    POOL_RETIRED = 2            # idle for long: no new use until somebody asks for the name again

    SECRET_SIZE = 16            # bytes of an invoke's secret

    OVERRIDE_LIMITS = 0         # of a pool: min_instances, max_instances; -1 as configured
    OVERRIDE_PAUSE = 1          # the desired count that is held
    OVERRIDE_RECYCLE = 2        # instances older than `at` are replaced: how many at once may be missing
    OVERRIDE_BREAKER = 3        # the breaker was reset: over as soon as it is taken up
    OVERRIDE_INSTANCE = 4       # an instance was drained, over as soon: its slot
    OVERRIDE_DRAIN = 5          # the router's: it asks for no more clients
    OVERRIDE_LOG_LEVEL = 6      # the router's: 10 debug, 20 info, 30 warning, 40 error

    CLOSE_REQUESTED = 1         # instance flag: the extension asked to end
    SECRET_SHOWN = 2            # instance flag: a call presented the secret, so every later call must
    FEATURES_AT = 8             # instance flags from this bit on: what its extension can do (dispatch/features.pxd)


cdef struct Header:
    uint64_t magic
    uint32_t version
    uint32_t byte_order         # 0x01020304 as this machine writes it
    uint64_t size               # of the whole board, bytes
    uint32_t workers            # slots of each kind
    uint32_t instances
    uint32_t pools
    uint32_t worker_size        # bytes of one slot of each kind
    uint32_t pool_size
    uint32_t instance_size
    uint32_t buckets
    uint32_t index_cells
    uint64_t pools_at           # where each section begins, bytes from the start
    uint64_t workers_at
    uint64_t worker_pools_at
    uint64_t instances_at
    uint64_t in_flight_at
    uint64_t limits_at
    uint64_t reserved_at
    uint64_t idle_at
    uint64_t index_at
    int64_t created             # when the supervisor made it
    int64_t created_wall        # the same, since 1970
    uint32_t supervisor_pid
    uint32_t instances_high     # scaler: every slot from here on has never been used, so scans end here
    uint8_t pool_key[16]        # key of the hash that names are claimed by
    uint64_t decisions_at       # where the ring of decisions begins, bytes from the start
    uint32_t decisions          # records in it
    uint8_t pad0[4]
    uint64_t pool_numbers_at
    uint32_t pools_gate         # scaler: odd while it frees retired pools; workers then wait to claim one
    uint32_t lives              # records in the ring of lives
    uint64_t decisions_written  # scaler: decisions ever recorded; the last one is number decisions_written
    uint64_t overrides_at       # where the overrides begin, bytes from the start
    uint64_t commands           # supervisor: commands of operators ever carried out; the last one has this number
    uint64_t lives_at           # where the ring of lives begins, bytes from the start
    uint64_t lives_written      # scaler: instances ever seen to end; the last one is number lives_written
    int64_t reloaded_wall       # supervisor: when a configuration was last taken, at the start or by a reload
    uint32_t reload_failed      # supervisor: 1 the last reload was refused
    uint8_t pad2[4]


cdef struct ScalerSlot:         # one writer: the scaler (pid, generation, state: the supervisor)
    uint32_t pid
    uint32_t generation
    uint32_t state              # as a worker's
    uint32_t breaker            # open breakers over all pools
    int64_t heartbeat
    int64_t started
    uint64_t ticks
    uint64_t invokes            # ever sent
    uint64_t invokes_ended
    uint64_t invokes_failed     # ended by an error of the call or a FunctionError
    uint64_t throttled
    int64_t open_invokes        # now
    int64_t tokens_milli        # left in the start budget, thousandths
    uint8_t pad[40]


cdef struct Histogram:          # one writer: the worker it belongs to; never reset while its pool or slot lives
    uint64_t sum_ns             # of all times observed, exact
    uint64_t bucket[BUCKETS]    # how many there were, by time_bucket()
    uint64_t spare


cdef struct WorkerSlot:         # one writer: the worker itself (pid, generation, listening: the supervisor)
    uint32_t pid
    uint32_t generation         # raised by the supervisor each time it gives the slot to a process
    uint32_t state              # worker: booting -> ready -> draining; supervisor: free, booting, gone
    uint32_t listening          # which set of listening sockets it serves
    int64_t heartbeat           # when its loop last came round
    int64_t started
    uint64_t intent             # low 16 bits: slot + 1 being changed, 0 none; above: a count of changes
    uint32_t claiming           # 1 while it looks for or claims a pool
    uint32_t pad0
    int32_t queued              # requests that wait here now
    int32_t running             # requests sent to an instance from here and not finished
    int64_t oldest_queued       # since when the oldest waits; 0 when none does
    # Counters: never reset, not even when the slot gets another process.
    uint64_t requests           # taken from clients (or siblings)
    uint64_t status_1xx         # responses by class, our own included; 1xx: interim responses passed on
    uint64_t status_2xx
    uint64_t status_3xx
    uint64_t status_4xx
    uint64_t status_5xx
    uint64_t bad_requests       # our own answers: 400
    uint64_t heads_too_large    # 431
    uint64_t bad_gateways       # 502
    uint64_t rejected           # 503: draining or queue full
    uint64_t queue_timeouts     # 504
    uint64_t clients_gone       # the client left before its answer was complete
    uint64_t resends            # sent again to another instance
    uint64_t health_checks
    uint64_t dispatched_local   # to a channel of this worker
    uint64_t dispatched_sibling     # handed to a sibling that had a slot
    uint64_t served_siblings    # taken from siblings; part of requests
    uint64_t accepted           # client connections ever
    uint64_t bytes_in           # from clients, heads and bodies as on the wire below TLS
    uint64_t bytes_out
    uint64_t instance_bytes_in  # from instances
    uint64_t instance_bytes_out
    uint64_t channels_parked    # ever
    uint64_t instance_accepted  # control connections ever
    uint64_t slow_readers       # clients' requests or connections ended because the answer was not read (MinReadRate)
    uint64_t slow_senders       # requests ended because their body came too slowly (408)
    uint64_t connections_refused    # closed at once: MaxConnections, or too few descriptors
    uint64_t connections_reclaimed  # idle ones closed to make room
    uint64_t memory_narrowed    # HTTP/2 connections given smaller windows, MemoryBudget's first step
    uint64_t memory_paused      # connections not read, or given no new requests: its second step
    uint64_t memory_refused     # requests and connections ended because MemoryBudget was used up
    uint64_t upgrades_opened    # connections and streams that went on in another protocol (WebSocket)
    uint64_t upgrades_by_client     # of these, over now: the client ended it first, or left
    uint64_t upgrades_by_application    # the application ended it first
    uint64_t upgrades_by_router     # the router did: its instance or worker goes, UpgradeIdleTimeout or -MaxLifetime
    uint64_t upgrades_broken    # the way to the application broke
    uint64_t upgrade_bytes_in   # from clients, after the upgrade, of those that are over
    uint64_t upgrade_bytes_out  # to clients, likewise
    uint64_t grpc_opened        # gRPC calls begun
    uint64_t grpc_by_client     # of these, over now: the client left, or was too slow
    uint64_t grpc_by_application    # the application said how it ended
    uint64_t grpc_by_router     # the router refused it, or ended it
    uint64_t grpc_broken        # the way to the application broke
    uint64_t grpc_bytes_in      # body bytes from clients, of those that are over
    uint64_t grpc_bytes_out     # to clients, likewise
    # Gauges: the supervisor zeroes them when the process ends.
    int64_t connections         # client connections open now
    int64_t instance_connections    # control connections open now
    int64_t idle_channels       # parked and free now
    int64_t uploads_held        # requests now that wait for their body before they may have a slot; not in queued
    int64_t handshakes          # TLS connections now whose handshake is not done
    int64_t memory_held         # bytes now that count towards MemoryBudget
    int64_t upgrades_open       # of upgrades_opened: those that are not over
    int64_t connections_http2   # of connections: those that speak HTTP/2
    int64_t grpc_open           # of grpc_opened: those that are not over
    uint64_t spare[6]
    Histogram lag               # how much later than planned its loop came round, at each tick (0.1 s)


cdef struct WorkerPool:         # what one worker knows of one pool; one writer: that worker
    int32_t queued
    int32_t running
    int64_t oldest_queued       # 0 when none waits
    uint64_t arrivals           # requests ever asked of this pool here
    uint64_t completions        # requests ever finished by an instance of it
    uint64_t duration_ns        # sum over completions, dispatch to last byte
    uint64_t wait_ns            # sum over dispatches, arrival to dispatch
    int64_t last_used           # when a request last asked for the pool
    uint64_t failures           # of the completions: those that the instance failed (502 or cut off)


cdef struct PoolNumbers:        # what one worker counts of one pool, for telemetry; one writer: that worker
    Histogram wait              # requests that a slot was given to: from asking for it until then
    Histogram service           # the same requests: from then until the answer's last byte
    Histogram total             # every request: from its head until its last byte
    Histogram cold_start        # instances that this worker opened: from the invoke until the first channel
    uint64_t outcomes[OUTCOMES]     # requests by code class (0: no answer, 2 to 5 less 1) and reason (outcome_reason)
    uint64_t request_bytes      # body bytes from clients, of requests that are over
    uint64_t response_bytes     # body bytes from instances, of requests that are over
    uint64_t resends            # requests sent again to another instance
    uint64_t spare
    uint64_t words[WORDS]       # requests by fault: the n-th word of error_words.ErrorWord
    uint64_t grpc[GRPC_STATUSES]    # gRPC calls by status; the last: none was said
    uint64_t pad[6]


cdef struct PoolSlot:           # key, state, name: claimed by anyone, in steps; the rest: the scaler
    uint64_t key                # hash of the name; 0 free. Set first, by compare-and-swap: that takes the slot
    uint32_t state
    uint32_t generation         # raised when the slot is freed
    uint32_t name_length
    uint32_t breaker            # 0 closed, 1 half-open, 2 open
    int64_t created
    int64_t retired             # when it was last retired
    int32_t desired
    int32_t starting
    int32_t open
    int32_t draining
    int32_t min_instances
    int32_t max_instances
    int32_t limit               # requests at once per instance
    int32_t channels            # asked of each instance
    uint64_t starts             # ever
    uint64_t starts_failed
    uint64_t ended
    int64_t backoff_until       # no start before then; 0 none
    int64_t rate_milli          # requests per 1000 s, smoothed
    int64_t average_us          # time of a request at an instance, smoothed
    int64_t last_decision
    uint32_t last_exit          # how the last invoke ended: the scaler's number for it
    uint32_t pad0
    uint64_t commands_taken     # number of the last operator's command that the scaler has seen
    int64_t predicted_wait_us   # what the next request will wait for a slot
    uint64_t open_ms            # of environments, ever: from each invoke to its return
    uint64_t busy_ms            # of those: with a request
    uint64_t invokes            # ever, init-only ones among them
    uint64_t cost_nusd          # 10^-9 USD, ever; 0 while FunctionMemoryMb is not set
    uint64_t direct_ms          # of environments, ever, that Lambda's own dispatch had needed for the same requests
    uint64_t direct_invokes     # and its invokes
    uint64_t direct_nusd        # and what they had cost
    uint32_t budget             # spent: bit 0 MaxCostPerHour, bit 1 MaxInvokesPerMinute
    int32_t desired_raw         # instances that the demand alone asks for, whatever the minimum and maximum
    int64_t tokens_milli        # left in its start budget, thousandths
    uint64_t billed_mb_ms       # memory x time that Lambda bills, ever; 0 while FunctionMemoryMb is not set
    uint64_t max_cost_nusd      # MaxCostPerHour, 10^-9 USD; 0 none
    int32_t frozen              # environments that should be frozen now: returned, and not reclaimed yet
    int32_t target              # requests at once that `adaptive` staffs an instance for
    int32_t packs               # the fullest instance with fewer requests is used first; 0: the least busy one
    uint8_t pad1[4]
    uint8_t name[POOL_NAME]     # name or name:qualifier or ARN, no terminator
    uint64_t exits[EXITS]       # invokes that ended, ever: the n-th by the exit reason with number n + 1
    uint64_t decisions[CAUSES]  # decisions ever, by direction and reason


cdef struct InstanceSlot:
    uint8_t id[16]              # scaler, before the slot is published
    uint64_t life               # generation << 32 | state; moves by compare-and-swap, forward only
    uint32_t pool               # scaler
    int32_t limit               # scaler: requests at once
    int64_t created             # scaler: when it was invoked
    int64_t opened              # the worker that opened it; 0 not yet
    int64_t deadline            # scaler: when the invoke must have ended
    int64_t goaway_at           # until then a draining instance may serve as a last resort; 0 not draining
    uint64_t requests           # atomic add by workers: served
    uint32_t pad0
    uint32_t flags              # atomic or: CLOSE_REQUESTED, SECRET_SHOWN, features << FEATURES_AT
    int64_t created_wall        # scaler
    int64_t closed              # scaler: when its invoke was seen to have ended
    uint8_t secret[16]          # scaler, before the invoke is sent: what the payload carries; all zero: none
    uint64_t opener             # workers: hash of the address that made the first call; by compare-and-swap from 0
    uint64_t busy_ns            # scaler: time with a request at it, by the scaler's looks (0.1 s)


cdef struct DecisionSlot:       # one writer: the scaler. Decision n is record (n - 1) % decisions
    uint64_t number             # 1 for the first decision of the router; 0 while the record is being written
    int64_t at                  # when it was taken
    uint32_t pool
    int32_t before              # desired instances before it
    int32_t desired             # and after
    int32_t proposed            # what the demand alone asked for, within min_instances and max_instances
    int32_t wanted              # starts that it asked for
    int32_t started             # starts that were sent
    int32_t closed              # instances told to drain
    int32_t released            # draining instances released early
    int32_t pending             # inputs: requests that wait
    int32_t running             # requests at instances
    int32_t starting            # instances by state
    int32_t open
    int32_t draining
    uint32_t breaker            # 0 closed, 1 half-open, 2 open
    int32_t min_instances
    int32_t max_instances
    int64_t rate_milli          # requests per 1000 s; -1 not known
    int64_t mean_us             # time of a request at an instance; -1 not known
    uint8_t held[DECISION_TEXT]  # why fewer were started than wanted; ASCII, filled up with zeros
    uint32_t policy             # whose decision it is: 0 simple, 1 ewma, 2 adaptive
    int32_t stay                # of the starts wanted, those that are to stay when idle
    uint32_t inputs_used        # of `inputs`
    uint32_t overrides          # in force: bit n says the override of kind n
    double inputs[DECISION_INPUTS]  # all that the policy saw and remembered, in the order of scaler/record.py
    uint32_t command            # the operator's command that was taken up: 1 + kind of override; 0 none
    int32_t recycled            # instances told to drain because they are to be replaced
    uint8_t who[OVERRIDE_WHO]   # of the command; UTF-8, filled up with zeros
    uint8_t why[OVERRIDE_REASON]
    uint8_t pad1[24]


cdef struct LifeSlot:           # one writer: the scaler. Life n is record (n - 1) % lives
    uint64_t number             # 1 for the first instance of the router that ended; 0 while the record is being written
    uint8_t id[4]               # the first bytes of the instance's id
    uint32_t pool
    int64_t asked               # when it was invoked
    int64_t opened              # its first channel; 0 it never opened
    int64_t ended               # when that was seen
    uint64_t requests           # served
    uint64_t busy_ns            # time with a request at it, by the scaler's looks
    uint32_t reason             # how the invoke ended: the scaler's number for it; 0 unknown
    uint32_t let_go             # 1 the router had asked it to end


cdef struct OverrideSlot:       # one writer: the supervisor
    uint64_t sequence           # odd while the record is being written
    uint64_t number             # of the command that changed it last; 0 never set
    int64_t at                  # when it was set
    int64_t until               # when it ends by itself; 0 never
    int64_t ended               # when it was ended before that; 0 in force
    uint32_t pool               # the router's: the number of pools
    uint32_t generation         # of the pool: it ends with it
    int32_t first               # what the kinds of override say
    int32_t second
    uint8_t pad[8]
    uint8_t who[OVERRIDE_WHO]   # who asked; UTF-8, filled up with zeros
    uint8_t reason[OVERRIDE_REASON]


cdef enum:
    LOWEST = -16                # 2^LOWEST s: what is not longer is in bucket 0
    HIGHEST = 10                # 2^HIGHEST s: what is longer is in the last bucket


# Which of the BUCKETS counters a time falls in. Bucket 0: up to 2^-16 s (15.3 us). Bucket n: up to and including
# 2^(n/4 - 16) s, more than bucket n - 1; the last: more than 2^10 s. The bounds are those of a Prometheus native
# histogram with schema 2 and of an OTLP exponential histogram with scale 2.
cdef inline int time_bucket(int64_t ns) noexcept nogil:
    # The bucket is the exponent and a fraction's place among three bounds. A whole number of ns is never nearer to a
    # bound than a thousand units in the last place, except on a power of two: it belongs to the bucket that ends
    # there, so a few units are taken off.
    cdef double seconds = ns * 1e-9
    cdef int64_t bits
    cdef int64_t fraction
    cdef int n
    if ns < 15259:
        return 0
    memcpy(&bits, &seconds, 8)
    bits -= 4
    fraction = bits & 0xFFFFFFFFFFFFFLL
    # The fraction bits of 2^(1/4), 2^(2/4) and 2^(3/4).
    n = (4 * (<int> (bits >> 52) - 1023 - LOWEST) + 1 + <int> (fraction > 0x306FE0A31B715LL)
         + <int> (fraction > 0x6A09E667F3BCCLL) + <int> (fraction > 0xAE89F995AD3ADLL))
    return n if n < BUCKETS - 1 else BUCKETS - 1


cdef inline void observe(Histogram* it, int64_t ns) noexcept nogil:
    it.bucket[time_bucket(ns)] += 1
    it.sum_ns += <uint64_t> ns if ns > 0 else 0
