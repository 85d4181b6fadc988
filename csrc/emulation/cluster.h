// Test equipment: memory barriers, and bulk copies that signal them, in one block or in all of a cluster.
#ifndef ARASFSR_CLUSTER_H
#define ARASFSR_CLUSTER_H

#include <cstdint>
#include <cstring>
#include <vector>

#include "emulator.h"

namespace arasfsr::emulation {

// The mbarrier object, in 64 bits as on a device. Poison is a state that never completes.
struct Mbarrier {
    int64_t bytes : 21;  // still to land; negative if more have landed than were expected so far
    uint64_t pending : 20, count : 20, phase : 1, poisoned : 2;
};
static_assert(sizeof(Mbarrier) == 8, "as large as a device's");

inline Mbarrier& mbarrier(void* place) {
    Mbarrier& barrier = *static_cast<Mbarrier*>(place);
    if (barrier.poisoned) fail("a memory barrier that nobody has initialised");
    return barrier;
}

inline void mbarrier_init(void* place, int count) {
    const uint64_t arrivals = static_cast<uint64_t>(count);
    *static_cast<Mbarrier*>(place) = {0, arrivals, arrivals, 0, 0};
}

inline void mbarrier_complete(Mbarrier& barrier) {
    if (barrier.pending != 0 || barrier.bytes != 0) return;
    barrier.pending = barrier.count;
    barrier.phase ^= 1;
    wake(&barrier);
}

inline void mbarrier_arrive(void* place, int bytes = 0) {
    Mbarrier& barrier = mbarrier(place);
    if (barrier.pending == 0) fail("an arrival that a memory barrier does not expect");
    barrier.bytes += bytes;
    --barrier.pending;
    mbarrier_complete(barrier);
}

inline void mbarrier_land(void* place, int bytes) {
    Mbarrier& barrier = mbarrier(place);
    barrier.bytes -= bytes;
    mbarrier_complete(barrier);
}

// Waits until the phase of that parity is over; `what` and `stage` are for the report of a deadlock.
inline void mbarrier_wait(void* place, int parity, const char* what, int stage) {
    Mbarrier& barrier = mbarrier(place);
    while (barrier.phase == static_cast<uint64_t>(parity)) sleep(&barrier, what, stage, parity);
}

// The address in a block's shared memory that corresponds to `mine` in that of the calling thread.
inline unsigned char* in_block(int rank, const void* mine) {
    return shared_of(rank) + (static_cast<const unsigned char*>(mine) - shared());
}

// cp.async.bulk with multicast: to the same address in each block of the mask, and signals the barrier there. The
// target is poisoned until the copy lands. The source is read when it lands or, perhaps, when the copy starts.
inline void copy_bulk(void* to, const void* from, int bytes, void* barrier, uint32_t mask) {
    const unsigned char* source = static_cast<const unsigned char*>(from);
    std::vector<unsigned char> early;
    if (perhaps()) early.assign(source, source + bytes);
    for (int rank = 0; mask >> rank; ++rank) {
        if (!(mask >> rank & 1)) continue;
        unsigned char* target = in_block(rank, to);
        unsigned char* seen = published_of(rank) + (target - shared_of(rank));
        unsigned char* signal = in_block(rank, barrier);
        std::memset(target, POISON, bytes);
        std::memset(seen, POISON, bytes);
        later([=] {
            const unsigned char* what = early.empty() ? source : early.data();
            std::memcpy(target, what, bytes);
            std::memcpy(seen, what, bytes);
            mbarrier_land(signal, bytes);
        });
    }
}

}  // namespace arasfsr::emulation
#endif
