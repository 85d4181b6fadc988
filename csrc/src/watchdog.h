// With ARASFSR_WATCHDOG, a build for debugging hangs: after two seconds of waiting for a memory barrier, a kernel
// reports what it waits for to the host, which prints it, and ends. Without it, nothing of this is compiled.
//
// The kernels must not call printf: if a kernel calls any function, ptxas serializes its warpgroup products. So they
// write a note to host memory, which a host thread polls. bar.sync and barrier.cluster are not watched, because they
// have no wait with a timeout: if all threads are stuck there, the kernel hangs as without the watchdog.
#ifndef ARASFSR_WATCHDOG_H
#define ARASFSR_WATCHDOG_H

#include "hw.h"

#if defined(ARASFSR_WATCHDOG) && !defined(ARASFSR_EMULATE)
#define ARASFSR_WATCHED
#include <cuda_runtime.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>
#include <set>
#include <thread>
#endif

namespace arasfsr::hw {

// What a wait for a stage is for.
enum class Awaited { WEIGHTS, WEIGHTS_READ, ROWS, ROWS_READ };

inline const char* words_of(Awaited awaited) {
    switch (awaited) {
        case Awaited::WEIGHTS: return "the weights to be filled";
        case Awaited::WEIGHTS_READ: return "the weights to be released";
        case Awaited::ROWS: return "z and f to be filled";
        default: return "z and f to be released";
    }
}

#ifdef ARASFSR_WATCHED

// Registers per thread: producers need more than without the watchdog, to read the clock.
constexpr int PRODUCER_REGISTERS = 40, CONSUMER_REGISTERS = 232;

constexpr uint32_t LONGEST_WAIT = 2000000000;  // nanoseconds
constexpr int MILLISECONDS_TO_PRINT = 500;     // from the note to the kernel's end

// The contents of the message that the host prints.
struct Note {
    Awaited awaited;
    int block, thread, stage, parity, written;
};

static __device__ volatile Note* host_note;
static __device__ int note_taken;

// Measures how long a wait has lasted.
class Patience {
  public:
    // Called after a failed try, in which the hardware has already waited for a while. The first thread to exceed the
    // limit writes the note. Marking the end as unreachable saves registers, but makes the compiler spill in the
    // forward.
    ARASFSR_DEVICE void failed(Awaited awaited, int stage, int parity) {
        if (since == 0) since = nanoseconds() | 1;
        if (nanoseconds() - since < LONGEST_WAIT) return;
        if (atomicExch(&note_taken, 1) == 0) {
            host_note->awaited = awaited;
            host_note->block = static_cast<int>(block());
            host_note->thread = thread();
            host_note->stage = stage;
            host_note->parity = parity;
            __threadfence_system();
            host_note->written = 1;
        }
        for (int i = 0; i < MILLISECONDS_TO_PRINT; ++i) __nanosleep(1000000);
        __trap();
        if (awaited != Awaited::WEIGHTS) __builtin_unreachable();
    }

  private:
    static ARASFSR_DEVICE uint32_t nanoseconds() {  // modulo 2^32
        uint32_t now;
        asm volatile("mov.u32 %0, %%globaltimer_lo;" : "=r"(now));
        return now;
    }

    uint32_t since = 0;
};

// Prints the note once it has been written.
inline void watch(const volatile Note* note) {
    while (note->written == 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::atomic_thread_fence(std::memory_order_acquire);
    std::fprintf(stderr, "arasfsr: block %d, warp %d has waited 2 s for stage %d of %s (phase parity %d)\n", note->block,
                 note->thread / WARP, note->stage, words_of(note->awaited), note->parity);
}

// The process's note, never freed, as its thread polls it until the end. NULL if CUDA cannot register the memory.
inline Note* note_of_process() {
    static Note* const note = [] {
        constexpr size_t PAGE = 4096;
        Note* made = new (std::aligned_alloc(PAGE, PAGE)) Note{};
        if (cudaHostRegister(made, PAGE, cudaHostRegisterPortable | cudaHostRegisterMapped) != cudaSuccess) {
            cudaGetLastError();
            return static_cast<Note*>(nullptr);
        }
        std::thread(watch, made).detach();
        return made;
    }();
    return note;
}

// Passes the note's address to the kernels of the including file; called before the first of them is launched on the
// current device, and not while a stream is captured.
static inline void watch_kernels() {
    static std::mutex mutex;
    static std::set<int> watched;
    int device = 0;
    const std::lock_guard<std::mutex> lock(mutex);
    if (cudaGetDevice(&device) != cudaSuccess || watched.count(device) != 0) return;
    Note* const note = note_of_process();
    void* there = nullptr;
    if (note == nullptr || cudaHostGetDevicePointer(&there, note, 0) != cudaSuccess) return;
    if (cudaMemcpyToSymbol(host_note, &there, sizeof there) == cudaSuccess) watched.insert(device);
}

#else

constexpr int PRODUCER_REGISTERS = 24, CONSUMER_REGISTERS = 240;

class Patience {
  public:
    ARASFSR_DEVICE void failed(Awaited, int, int) {}
};

inline void watch_kernels() {}

#endif

}  // namespace arasfsr::hw
#endif
