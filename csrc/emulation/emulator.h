// Test equipment: runs a kernel's blocks on the CPU, their threads as fibers that take turns, and never in parallel.
//
// A fiber runs until it waits: for its warp (an instruction that 32 lanes execute together), for its block or cluster
// (a barrier), or for memory. Everything that waits sleeps on an object and is woken by who completes it. Mistakes are
// to show as wrong numbers: shared memory starts as NaN, an asynchronous copy leaves NaN until it has landed, an
// asynchronous product is done when it is waited for, and with ARASFSR_EMULATION_SEED set to a number other than 0,
// warps overtake each other and the asynchronous happens at random.
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

// What the device is said to have; the environment's ARASFSR_EMULATION_SHARED, ARASFSR_EMULATION_PROCESSORS and
// ARASFSR_EMULATION_CAPABILITY (such as 90) change them, so that tests reach the kernels of other devices.
int shared_limit();
int processors();
int capability();

// Ends the process, telling what every warp's threads are at.
[[noreturn]] void fail(const char* problem);

// The following are for code that runs inside a kernel.

int thread();
int64_t block();
int64_t blocks();
unsigned char* shared();

// Of a cluster: the block's number in it, every block's shared memory, and how that looks to the asynchronous proxy,
// which sees what threads have written only once it is published (fence.proxy.async).
int rank();
unsigned char* shared_of(int rank);
unsigned char* published_of(int rank);
void publish();

// Lets something happen at a later time: when every thread waits or, under a random schedule, between any two steps.
void later(std::function<void()> action);

// False as it comes, true in half of all cases under a random schedule.
bool perhaps();

// Waits until somebody wakes the object; `what` is named if nobody does, and a stage of it with the phase's parity.
void sleep(const void* object, const char* what, int stage = -1, int parity = 0);
void wake(const void* object);

// bar.sync: waits until `threads` threads (0: all of the block) have come to the barrier of that number.
void barrier(int number = 0, int threads = 0);

// barrier.cluster: waits until all threads of the cluster have come.
void cluster_barrier();

// An instruction of the whole warp: once all lanes have brought their operands, the last one executes it for all.
void collective(const char* name, void* operands, void (*execute)(void* const lanes[WARP]));

// Asynchronous products of the calling lane's warp, called by one lane for all: done in order, when their group is
// waited for at the latest. They take registers that a fence has put in order: since the last wait, not before.
void defer_allow(bool fenced);
void defer(std::function<void()> product);
void defer_commit();
void defer_wait(int pending);

// cp.async: what is copied lands when its group is waited for; it may have been read at any time since.
void copy_async(void* to, const void* from, int bytes);
void copy_commit();
void copy_wait(int pending);

// cp.async.bulk from published shared memory to global memory: read, and there, when it is waited for at the latest.
void store_bulk(void* to, const void* from, int bytes);
void store_wait();

}  // namespace arasfsr::emulation
#endif
