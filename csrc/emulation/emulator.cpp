// Fibers, their schedule, barriers and asynchronous copies of the emulated device.

#undef _FORTIFY_SOURCE  // its check of longjmp takes a switch of stacks for a mistake

#include "emulator.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <ucontext.h>
#include <vector>

namespace arasfsr::emulation {
namespace {

constexpr size_t STACK_BYTES = 1 << 17;
constexpr unsigned char POISON = 0xFF;  // a NaN in every floating-point format
constexpr int BARRIERS = 16;
constexpr unsigned TURN = 64;  // how many switches a favoured warp stays so, on average

struct Copy {
    void* to;
    const void* from;
    size_t bytes;
    std::vector<unsigned char> early;  // what was read when the copy started, where it was
};

struct Fiber {
    int index = 0;
    std::unique_ptr<char[]> stack{new char[STACK_BYTES]};
    ucontext_t entry;
    jmp_buf context;
    bool started = false;
    bool done = false;
    const void* sleeping_on = nullptr;
    const char* what = "";
    std::deque<std::vector<Copy>> groups;
    std::vector<Copy> open_group;

    bool ready() const { return !done && sleeping_on == nullptr; }
};

struct Warp {
    void* lanes[WARP];
    int arrived = 0;
    const char* name = nullptr;
};

struct Block {
    int64_t index, count;
    std::vector<Fiber>* fibers;
    std::vector<Warp> warps;
    int arrived[BARRIERS] = {};
    unsigned char* shared;
    const std::function<void()>* kernel;
    std::mt19937_64 random;
    bool shuffled;
    int favoured = 0;
};

// One block runs at a time.
std::mutex one_launch;
Block* the_block = nullptr;
Fiber* current = nullptr;
jmp_buf scheduler;

[[noreturn]] void fail(const char* problem) {
    std::fprintf(stderr, "emulation, block %lld: %s\n", static_cast<long long>(the_block->index), problem);
    int listed = 0;
    for (const Fiber& fiber : *the_block->fibers) {
        if (fiber.done || listed == 64) continue;
        std::fprintf(stderr, "  thread %d %s %s\n", fiber.index, fiber.sleeping_on ? "waits at" : "runs", fiber.what);
        ++listed;
    }
    std::abort();
}

int64_t setting(const char* name, int64_t otherwise) {
    const char* text = std::getenv(name);
    return text && *text ? std::atoll(text) : otherwise;
}

void enter() {
    (*the_block->kernel)();
    copy_commit();
    for (const std::vector<Copy>& group : current->groups) {
        if (!group.empty()) fail("a thread ended without waiting for its copies");
    }
    current->done = true;
    _longjmp(scheduler, 1);
}

void resume(Fiber& fiber) {
    current = &fiber;
    if (_setjmp(scheduler) == 0) {
        if (fiber.started) _longjmp(fiber.context, 1);
        fiber.started = true;
        setcontext(&fiber.entry);
    }
}

// The first ready fiber from `start` on, among `count` from `first`, or -1.
int ready_from(const Block& block, int first, int count, int start) {
    for (int i = 0; i < count; ++i) {
        const int index = first + (start + i) % count;
        if ((*block.fibers)[index].ready()) return index;
    }
    return -1;
}

int next(Block& block, int last) {
    const int threads = static_cast<int>(block.fibers->size());
    if (!block.shuffled) return ready_from(block, 0, threads, last + 1);
    // One warp runs as far as it can, until the lot falls on another: that is how warps get far apart.
    const int lane = static_cast<int>(block.random() % WARP);
    int chosen = -1;
    if (block.random() % TURN != 0) chosen = ready_from(block, block.favoured * WARP, WARP, lane);
    if (chosen < 0) chosen = ready_from(block, 0, threads, static_cast<int>(block.random() % threads));
    if (chosen >= 0) block.favoured = chosen / WARP;
    return chosen;
}

void prepare(Fiber& fiber) {
    fiber.started = fiber.done = false;
    fiber.sleeping_on = nullptr;
    fiber.what = "";
    fiber.groups.clear();
    fiber.open_group.clear();
    getcontext(&fiber.entry);
    fiber.entry.uc_stack.ss_sp = fiber.stack.get();
    fiber.entry.uc_stack.ss_size = STACK_BYTES;
    fiber.entry.uc_link = nullptr;
    makecontext(&fiber.entry, enter, 0);
}

void run_block(Block& block) {
    the_block = &block;
    for (Fiber& fiber : *block.fibers) prepare(fiber);
    int last = -1;
    while ((last = next(block, last)) >= 0) resume((*block.fibers)[last]);
    for (const Fiber& fiber : *block.fibers) {
        if (!fiber.done) fail("deadlock");
    }
    the_block = nullptr;
}

}  // namespace

void run(int64_t blocks, int threads, size_t shared, const std::function<void()>& kernel) {
    const std::lock_guard<std::mutex> alone(one_launch);
    const uint64_t seed = static_cast<uint64_t>(setting("ARASFSR_EMULATION_SEED", 0));
    std::vector<Fiber> fibers(threads);
    for (int i = 0; i < threads; ++i) fibers[i].index = i;
    std::unique_ptr<unsigned char[]> memory(new unsigned char[shared + 1024]);
    unsigned char* aligned = memory.get() + (-reinterpret_cast<uintptr_t>(memory.get()) & 1023);
    for (int64_t index = 0; index < blocks; ++index) {
        std::memset(aligned, POISON, shared);
        Block block{};
        block.index = index;
        block.count = blocks;
        block.fibers = &fibers;
        block.warps.resize((threads + WARP - 1) / WARP);
        block.shared = aligned;
        block.kernel = &kernel;
        block.random.seed(seed * 1000003 + static_cast<uint64_t>(index));
        block.shuffled = seed != 0;
        run_block(block);
    }
}

int shared_limit() { return static_cast<int>(setting("ARASFSR_EMULATION_SHARED", 227 * 1024)); }

int processors() { return static_cast<int>(setting("ARASFSR_EMULATION_PROCESSORS", 2)); }

int thread() { return current->index; }

int64_t block() { return the_block->index; }

int64_t blocks() { return the_block->count; }

unsigned char* shared() { return the_block->shared; }

void sleep(const void* object, const char* what) {
    current->sleeping_on = object;
    current->what = what;
    if (_setjmp(current->context) == 0) _longjmp(scheduler, 1);
}

void wake(const void* object) {
    for (Fiber& fiber : *the_block->fibers) {
        if (fiber.sleeping_on == object) fiber.sleeping_on = nullptr;
    }
}

void barrier(int number, int threads) {
    int& arrived = the_block->arrived[number];
    if (threads == 0) threads = static_cast<int>(the_block->fibers->size());
    if (++arrived < threads) {
        sleep(&arrived, "a barrier of the block");
    } else {
        arrived = 0;
        wake(&arrived);
    }
}

void collective(const char* name, void* operands, void (*execute)(void* const lanes[WARP])) {
    Warp& warp = the_block->warps[current->index / WARP];
    if (warp.arrived > 0 && std::strcmp(warp.name, name) != 0) fail("lanes of a warp are at different instructions");
    warp.name = name;
    warp.lanes[current->index % WARP] = operands;
    if (++warp.arrived < WARP) {
        sleep(&warp, name);
    } else {
        warp.arrived = 0;
        execute(warp.lanes);
        wake(&warp);
    }
}

void copy_async(void* to, const void* from, int bytes) {
    std::memset(to, POISON, bytes);
    Copy copy{to, from, static_cast<size_t>(bytes), {}};
    const unsigned char* source = static_cast<const unsigned char*>(from);
    // A device reads at any time until the wait; here it is at its end or, under a random schedule, perhaps at once.
    if (the_block->shuffled && the_block->random() % 2) copy.early.assign(source, source + bytes);
    current->open_group.push_back(std::move(copy));
}

void copy_commit() {
    current->groups.push_back(std::move(current->open_group));
    current->open_group.clear();
}

void copy_wait(int pending) {
    while (current->groups.size() > static_cast<size_t>(pending)) {
        for (const Copy& copy : current->groups.front()) {
            std::memcpy(copy.to, copy.early.empty() ? copy.from : copy.early.data(), copy.bytes);
        }
        current->groups.pop_front();
    }
}

}  // namespace arasfsr::emulation
