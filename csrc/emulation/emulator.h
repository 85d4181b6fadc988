// Test equipment: runs a kernel's blocks on the CPU, with threads as fibers, one at a time.
//
// A fiber runs until it waits: for its warp (an instruction that 32 lanes execute together), for its block or cluster
// (a barrier), or for memory. A waiting fiber sleeps on an object until it is woken. Mistakes show as wrong numbers:
// shared memory starts as NaN, the target of an asynchronous copy is NaN until the copy has landed, an asynchronous
// product is computed when it is waited for, and with ARASFSR_EMULATION_SEED other than 0 warps overtake each other and
// asynchronous operations happen at random times.
#ifndef ARASFSR_EMULATOR_H
#define ARASFSR_EMULATOR_H

#include <cstddef>
#include <cstdint>
#include <functional>

namespace arasfsr::emulation {

constexpr int WARP = 32;
constexpr unsigned char POISON = 0xFF;  // a NaN in every floating-point format

// Runs the kernel for blocks 0 .. blocks - 1, clusters of `each` of them one after the other, each block of `threads`
// threads with `shared` bytes. `blocks` is a multiple of `each`.
void run(int64_t blocks, int threads, size_t shared, const std::function<void()>& kernel, int each = 1);

// The properties of the emulated device. The environment variables ARASFSR_EMULATION_SHARED,
// ARASFSR_EMULATION_PROCESSORS and ARASFSR_EMULATION_CAPABILITY (such as 90) change them, so that tests reach the
// kernels for other devices.
int shared_limit();
int processors();
int capability();

// Ends the process and reports what the threads of every warp wait for.
[[noreturn]] void fail(const char* problem);

// The functions below are called inside a kernel.

int thread();
int64_t block();
int64_t blocks();
unsigned char* shared();

// In a cluster: the block's rank, the shared memory of every block, and the asynchronous proxy's view of it, which has
// what threads have written only after it is published (fence.proxy.async).
int rank();
unsigned char* shared_of(int rank);
unsigned char* published_of(int rank);
void publish();

// Defers an operation until every thread waits or, under a random schedule, to any time.
void later(std::function<void()> action);

// False, or under a random schedule true half of the time.
bool perhaps();

// Waits until the object is woken; the report of a deadlock names `what`, its stage and the phase's parity.
void sleep(const void* object, const char* what, int stage = -1, int parity = 0);
void wake(const void* object);

// bar.sync: waits until `threads` threads (0: all of the block) have arrived at the barrier `id`.
void barrier(int id = 0, int threads = 0);

// barrier.cluster: waits until all threads of the cluster have arrived.
void cluster_barrier();

// An instruction of the whole warp: the last lane to arrive executes it for all, with the operands of all.
void collective(const char* name, void* operands, void (*execute)(void* const lanes[WARP]));

// Asynchronous products of the calling lane's warp, called by one lane for all: done in order, at the latest when their
// group is waited for. Their registers need a fence after the last wait.
void defer_allow(bool fenced);
void defer(std::function<void()> product);
void defer_commit();
void defer_wait(int pending);

// cp.async: the copy lands when its group is waited for; the source may be read at any time until then.
void copy_async(void* to, const void* from, int bytes);
void copy_commit();
void copy_wait(int pending);

// cp.async.bulk from published shared memory to global memory: done at the latest when it is waited for.
void store_bulk(void* to, const void* from, int bytes);
void store_wait();

}  // namespace arasfsr::emulation
#endif
