// The hardware of compute capability 9.0a: clusters, memory barriers, bulk copies, warpgroup products. As in hw.h,
// every instruction has a body for the device and one for the emulation.
#ifndef ARASFSR_HW90_H
#define ARASFSR_HW90_H

#include "hw.h"
#include "watchdog.h"

#ifdef ARASFSR_EMULATE
#include "../emulation/cluster.h"
#include "../emulation/warpgroup.h"
#endif

namespace arasfsr::hw {

constexpr int WARPGROUP = 128;
constexpr int ACCUMULATORS = 128;  // of a thread: 64 x 256 numbers of a warpgroup

// The object of a memory barrier in shared memory.
struct alignas(8) Mbarrier {
    uint64_t state;
};

#ifdef ARASFSR_EMULATE

inline int cluster_rank() { return emulation::rank(); }
inline void cluster_barrier() { emulation::cluster_barrier(); }
inline void barrier(int id, int threads) { emulation::barrier(id, threads); }

template <int>
void give_registers() {}
template <int>
void take_registers() {}

inline void keep_order() {}
inline void warp_barrier() { emulation::collective("bar.warp.sync", nullptr, [](void* const*) {}); }

inline void prefetch(const void*, int) {}

inline void fence_asynchronous() { emulation::publish(); }

inline void mbarrier_init(Mbarrier* barrier, int count) { emulation::mbarrier_init(barrier, count); }
inline void mbarrier_publish() {}
inline void mbarrier_expect(Mbarrier* barrier, int bytes) { emulation::mbarrier_arrive(barrier, bytes); }
inline void mbarrier_arrive(const Mbarrier* barrier, int rank) {
    emulation::mbarrier_arrive(emulation::in_block(rank, barrier));
}
inline void mbarrier_wait(Mbarrier* barrier, int parity, Awaited awaited, int stage) {
    emulation::mbarrier_wait(barrier, parity, words_of(awaited), stage);
}

inline void copy_bulk(void* to, const void* from, int bytes, Mbarrier* barrier, uint16_t blocks) {
    emulation::copy_bulk(to, from, bytes, barrier, blocks);
}

inline void store_bulk(void* to, const void* from, int bytes) { emulation::store_bulk(to, from, bytes); }
inline void store_wait() { emulation::store_wait(); }

inline uint32_t shared_address(const void* pointer) {
    return static_cast<uint32_t>(static_cast<const unsigned char*>(pointer) - emulation::shared());
}

inline void store_matrices(void* row, const uint32_t (&matrices)[4]) {
    emulation::Stmatrix operands{matrices, row};
    emulation::collective("stmatrix", &operands, emulation::stmatrix);
}

inline void wgmma(Bfloat16, float (&total)[ACCUMULATORS], uint64_t a, uint64_t b, bool add) {
    emulation::Wgmma operands{total, nullptr, a, b, add};
    emulation::collective("wgmma.bf16", &operands, emulation::wgmma<emulation::from_bfloat16>);
}
inline void wgmma(Float16, float (&total)[ACCUMULATORS], uint64_t a, uint64_t b, bool add) {
    emulation::Wgmma operands{total, nullptr, a, b, add};
    emulation::collective("wgmma.f16", &operands, emulation::wgmma<emulation::from_float16>);
}
inline void wgmma(Bfloat16, float (&total)[ACCUMULATORS], const uint32_t (&a)[4], uint64_t b) {
    emulation::Wgmma operands{total, a, 0, b, true};
    emulation::collective("wgmma.bf16", &operands, emulation::wgmma<emulation::from_bfloat16>);
}
inline void wgmma(Float16, float (&total)[ACCUMULATORS], const uint32_t (&a)[4], uint64_t b) {
    emulation::Wgmma operands{total, a, 0, b, true};
    emulation::collective("wgmma.f16", &operands, emulation::wgmma<emulation::from_float16>);
}
inline void wgmma_by_columns(Bfloat16, float (&total)[ACCUMULATORS], const uint32_t (&a)[4], uint64_t b) {
    emulation::Wgmma operands{total, a, 0, b, true, true};
    emulation::collective("wgmma.bf16", &operands, emulation::wgmma<emulation::from_bfloat16>);
}
inline void wgmma_by_columns(Float16, float (&total)[ACCUMULATORS], const uint32_t (&a)[4], uint64_t b) {
    emulation::Wgmma operands{total, a, 0, b, true, true};
    emulation::collective("wgmma.f16", &operands, emulation::wgmma<emulation::from_float16>);
}
inline void wgmma_fence() { emulation::collective("wgmma.fence", nullptr, emulation::wgmma_fence); }
inline void wgmma_commit() { emulation::collective("wgmma.commit", nullptr, emulation::wgmma_commit); }
template <int PENDING>
void wgmma_wait() {
    int pending = PENDING;
    emulation::collective("wgmma.wait", &pending, emulation::wgmma_wait);
}
inline void wgmma_finish(float (&)[ACCUMULATORS]) { wgmma_wait<0>(); }

#else

ARASFSR_DEVICE int cluster_rank() {
    int rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
ARASFSR_DEVICE void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.release;" ::: "memory");
    asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}
ARASFSR_DEVICE void barrier(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// setmaxnreg: decreases or increases the registers per thread of a whole warpgroup.
template <int REGISTERS>
ARASFSR_DEVICE void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
template <int REGISTERS>
ARASFSR_DEVICE void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

// The cheapest instruction across which the compiler moves no memory access.
ARASFSR_DEVICE void keep_order() { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }

// Makes what the lanes of a warp have written to shared memory, or waited for, visible to all of them.
ARASFSR_DEVICE void warp_barrier() { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }

// Prefetches that many bytes, a multiple of 16, into the L2 cache, without waiting.
ARASFSR_DEVICE void prefetch(const void* from, int bytes) {
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes));
}

// Makes what the thread has written to shared memory visible to wgmma, which reads through another proxy.
ARASFSR_DEVICE void fence_asynchronous() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

ARASFSR_DEVICE void mbarrier_init(Mbarrier* barrier, int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
}
// Makes initialised barriers visible to bulk copies and, after a barrier of the cluster, to its blocks.
ARASFSR_DEVICE void mbarrier_publish() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
// Arrives, and extends the phase until that many more bytes have landed.
ARASFSR_DEVICE void mbarrier_expect(Mbarrier* barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}
// Arrives at the corresponding barrier of another block of the cluster. It signals the end of reads, not of writes: a
// release at cluster scope would flush the thread's writes each time.
ARASFSR_DEVICE void mbarrier_arrive(const Mbarrier* barrier, int rank) {
    uint32_t there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(barrier)), "r"(rank));
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(there) : "memory");
}
// Waits until the phase of that parity is over. Copies that have landed are visible; an acquire at cluster scope would
// invalidate the L1 cache each time.
ARASFSR_DEVICE void mbarrier_wait(Mbarrier* barrier, int parity, Awaited awaited, int stage) {
    Patience patience;
    for (;;) {
        uint32_t over;
        asm volatile(
            "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; "
            "selp.u32 %0, 1, 0, p; }"
            : "=r"(over)
            : "r"(shared_address(barrier)), "r"(parity)
            : "memory");
        if (over) return;
        patience.failed(awaited, stage, parity);
    }
}

// Copies to the same address in the shared memory of each block of a mask, and signals the corresponding barrier there.
ARASFSR_DEVICE void copy_bulk(void* to, const void* from, int bytes, Mbarrier* barrier, uint16_t blocks) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], %2, [%3], %4;"
        ::"r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(barrier)), "h"(blocks)
        : "memory");
}

// Copies published shared memory to global memory. Called by one thread, which can wait until all sources of its copies
// have been read.
ARASFSR_DEVICE void store_bulk(void* to, const void* from, int bytes) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(shared_address(from)),
                 "r"(bytes)
                 : "memory");
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
ARASFSR_DEVICE void store_wait() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }

// stmatrix: four 8 x 8 matrices; row l % 8 of matrix l / 8 goes to where lane l points. The inverse of ldmatrix.
ARASFSR_DEVICE void store_matrices(void* row, const uint32_t (&matrices)[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(row)),
                 "r"(matrices[0]), "r"(matrices[1]), "r"(matrices[2]), "r"(matrices[3])
                 : "memory");
}

// wgmma.m64n256k16: total (64 x 256) += a (64 x 16) b (16 x 256), with b stored by columns. a is in shared memory, with
// a descriptor, and total may then be set instead of added to; or it is in registers as for mma, warp w having rows 16
// w .. 16 w + 15. In the form `by_columns`, b is stored by rows.
#define ARASFSR_8(i) \
    "+f"(total[i]), "+f"(total[i + 1]), "+f"(total[i + 2]), "+f"(total[i + 3]), "+f"(total[i + 4]), \
        "+f"(total[i + 5]), "+f"(total[i + 6]), "+f"(total[i + 7])
#define ARASFSR_64(i) \
    ARASFSR_8(i), ARASFSR_8(i + 8), ARASFSR_8(i + 16), ARASFSR_8(i + 24), ARASFSR_8(i + 32), ARASFSR_8(i + 40), \
        ARASFSR_8(i + 48), ARASFSR_8(i + 56)
#define ARASFSR_TOTAL ARASFSR_64(0), ARASFSR_64(64)
#define ARASFSR_NAMES \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}"
#define ARASFSR_WGMMA_OF_REGISTERS(function, type, name, transposed) \
    ARASFSR_DEVICE void function(type, float (&total)[ACCUMULATORS], const uint32_t (&a)[4], uint64_t b) { \
        asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32." name "." name " " ARASFSR_NAMES \
                     ", {%128, %129, %130, %131}, %132, 1, 1, 1, " transposed ";" \
                     : ARASFSR_TOTAL \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)); \
    }
#define ARASFSR_WGMMA(type, name) \
    ARASFSR_DEVICE void wgmma(type, float (&total)[ACCUMULATORS], uint64_t a, uint64_t b, bool add) { \
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %130, 0; wgmma.mma_async.sync.aligned.m64n256k16.f32." name "." \
                     name " " ARASFSR_NAMES ", %128, %129, p, 1, 1, 0, 0; }" \
                     : ARASFSR_TOTAL \
                     : "l"(a), "l"(b), "r"(static_cast<int>(add))); \
    } \
    ARASFSR_WGMMA_OF_REGISTERS(wgmma, type, name, "0") \
    ARASFSR_WGMMA_OF_REGISTERS(wgmma_by_columns, type, name, "1")
ARASFSR_WGMMA(Bfloat16, "bf16")
ARASFSR_WGMMA(Float16, "f16")

// Makes the contents of registers visible to the products that follow.
ARASFSR_DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
ARASFSR_DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits until at most that many groups of products are pending.
template <int PENDING>
ARASFSR_DEVICE void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}
// Waits for all; the compiler must not read the result before.
ARASFSR_DEVICE void wgmma_finish(float (&total)[ACCUMULATORS]) {
    asm volatile("wgmma.wait_group.sync.aligned 0;" : ARASFSR_TOTAL::"memory");
}

#undef ARASFSR_WGMMA
#undef ARASFSR_WGMMA_OF_REGISTERS
#undef ARASFSR_NAMES
#undef ARASFSR_TOTAL
#undef ARASFSR_64
#undef ARASFSR_8

#endif

// The descriptor of a matrix in shared memory for wgmma: rows of 128 bytes along the inner dimension, 128-byte swizzle
// (1 in the upper two bits), a group of eight rows every 1024 bytes. The other stride is unused with this swizzle.
ARASFSR_DEVICE uint64_t swizzled_matrix(const void* start) {
    constexpr uint64_t stride = 1024;
    return uint64_t{1} << 62 | (stride >> 4) << 32 | uint64_t{1} << 16 | (shared_address(start) & 0x3FFFF) >> 4;
}

// The same for a matrix whose columns run along the inner dimension: rows of 64 numbers, 128 bytes, eight of them every
// 1024 bytes, and the next 64 numbers of all rows after `apart` bytes.
ARASFSR_DEVICE uint64_t swizzled_columns(const void* start, int apart) {
    return (swizzled_matrix(start) & ~(uint64_t{0x3FFF} << 16)) | static_cast<uint64_t>(apart >> 4) << 16;
}

}  // namespace arasfsr::hw
#endif
