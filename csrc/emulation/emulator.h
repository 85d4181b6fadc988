// Test equipment: runs a kernel's blocks on the CPU, their threads as fibers that take turns, and never in parallel.
//
// A fiber runs until it waits: for its warp (an instruction that 32 lanes execute together) or for its block (a
// barrier). Everything that waits sleeps on an object and is woken by who completes it. Mistakes are to show as wrong
// numbers: shared memory starts as NaN, an asynchronous copy leaves NaN until it is waited for, and with
// ARASFSR_EMULATION_SEED set to a number other than 0, warps overtake each other at random.
#ifndef ARASFSR_EMULATOR_H
#define ARASFSR_EMULATOR_H

#include <cstddef>
#include <cstdint>
#include <functional>

namespace arasfsr::emulation {

constexpr int WARP = 32;

// Runs the kernel for blocks 0 .. blocks - 1, one after the other, each of `threads` threads with `shared` bytes.
void run(int64_t blocks, int threads, size_t shared, const std::function<void()>& kernel);

// What the device is said to have; the environment's ARASFSR_EMULATION_SHARED and ARASFSR_EMULATION_PROCESSORS change
// them, so that tests reach the kernels of small devices.
int shared_limit();
int processors();

// The following are for code that runs inside a kernel.

int thread();
int64_t block();
int64_t blocks();
unsigned char* shared();

// Waits until somebody wakes the object; `what` is named if nobody does.
void sleep(const void* object, const char* what);
void wake(const void* object);

// bar.sync: waits until `threads` threads (0: all of the block) have come to the barrier of that number.
void barrier(int number = 0, int threads = 0);

// An instruction of the whole warp: once all lanes have brought their operands, the last one executes it for all.
void collective(const char* name, void* operands, void (*execute)(void* const lanes[WARP]));

// cp.async: what is copied lands when its group is waited for; it may have been read at any time since.
void copy_async(void* to, const void* from, int bytes);
void copy_commit();
void copy_wait(int pending);

}  // namespace arasfsr::emulation
#endif
