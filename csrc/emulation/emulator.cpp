// Fibers, their schedule, barriers and the asynchronous operations of the emulated device.

#undef _FORTIFY_SOURCE  // its check of longjmp rejects a switch of stacks

#include "emulator.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <ucontext.h>
#include <utility>
#include <vector>

namespace arasfsr::emulation {
namespace {

constexpr size_t STACK_BYTES = 1 << 17;
constexpr int BARRIERS = 16;
constexpr unsigned TURN = 64;  // how many switches a favoured warp stays so at least, on average

using Actions = std::vector<std::function<void()>>;

// Shared memory of a block, aligned to the period of the swizzle, and poisoned.
class Memory {
  public:
    explicit Memory(size_t bytes) : bytes_(bytes), memory_(new unsigned char[bytes + 1024]) {
        std::memset(data(), POISON, bytes);
    }
    unsigned char* data() const {
        unsigned char* start = memory_.get();
        return start + (-reinterpret_cast<uintptr_t>(start) & 1023);
    }
    size_t bytes() const { return bytes_; }

  private:
    size_t bytes_;
    std::unique_ptr<unsigned char[]> memory_;
};

struct Copy {
    void* to;
    const void* from;
    size_t bytes;
    std::vector<unsigned char> early;  // what was read when the copy started, where it was
};

struct Block;

struct Fiber {
    Block* block = nullptr;
    int index = 0;  // in the block
    std::unique_ptr<char[]> stack{new char[STACK_BYTES]};
    ucontext_t entry;
    jmp_buf context;
    bool started = false;
    bool done = false;
    const void* sleeping_on = nullptr;
    const char* what = "";
    int stage = -1, parity = 0;  // of what, where it has stages
    std::deque<std::vector<Copy>> groups;
    std::vector<Copy> open_group;
    Actions stores;

    bool ready() const { return !done && sleeping_on == nullptr; }
};

struct Warp {
    void* lanes[WARP];
    int arrived = 0;
    const char* name = nullptr;
    std::deque<Actions> groups;
    Actions open_group;
    bool fenced = false;
};

struct Block {
    int64_t index;
    int threads;
    Fiber* fibers;
    std::vector<Warp> warps;
    int arrived[BARRIERS] = {};
    Memory shared, published;
    int running;
};

struct Cluster {
    int64_t blocks_of_launch;
    std::vector<Fiber>* fibers;
    std::vector<Block> blocks;
    int arrived = 0;
    Actions under_way;
    const std::function<void()>* kernel;
    std::mt19937_64 random;
    bool shuffled;
    unsigned turn;  // as TURN, or up to 64 times longer
    int favoured = 0;
};

// One cluster runs at a time.
std::mutex one_launch;
Cluster* the_cluster = nullptr;
Fiber* current = nullptr;
jmp_buf scheduler;

int64_t setting(const char* name, int64_t otherwise) {
    const char* text = std::getenv(name);
    return text && *text ? std::atoll(text) : otherwise;
}

void enter() {
    (*the_cluster->kernel)();
    copy_commit();
    for (const std::vector<Copy>& group : current->groups) {
        if (!group.empty()) fail("a thread ended without waiting for its copies");
    }
    if (!current->stores.empty()) fail("a thread ended without waiting for its stores");
    current->done = true;
    --current->block->running;
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
int ready_from(const Cluster& cluster, int first, int count, int start) {
    for (int i = 0; i < count; ++i) {
        const int index = first + (start + i) % count;
        if ((*cluster.fibers)[index].ready()) return index;
    }
    return -1;
}

int next(Cluster& cluster, int last) {
    const int threads = static_cast<int>(cluster.fibers->size());
    if (!cluster.shuffled) return ready_from(cluster, 0, threads, last + 1);
    // One warp runs as far as it can until another is drawn at random, so that warps get far apart.
    const int lane = static_cast<int>(cluster.random() % WARP);
    int chosen = -1;
    if (cluster.random() % cluster.turn != 0) chosen = ready_from(cluster, cluster.favoured * WARP, WARP, lane);
    if (chosen < 0) chosen = ready_from(cluster, 0, threads, static_cast<int>(cluster.random() % threads));
    if (chosen >= 0) cluster.favoured = chosen / WARP;
    return chosen;
}

// Performs one of the pending asynchronous operations: the first, or under a random schedule any.
void happen(Cluster& cluster) {
    Actions& actions = cluster.under_way;
    const size_t chosen = cluster.shuffled ? cluster.random() % actions.size() : 0;
    const std::function<void()> action = std::move(actions[chosen]);
    actions.erase(actions.begin() + static_cast<ptrdiff_t>(chosen));
    action();
}

void prepare(Fiber& fiber) {
    fiber.started = fiber.done = false;
    fiber.sleeping_on = nullptr;
    fiber.what = "";
    fiber.groups.clear();
    fiber.open_group.clear();
    fiber.stores.clear();
    getcontext(&fiber.entry);
    fiber.entry.uc_stack.ss_sp = fiber.stack.get();
    fiber.entry.uc_stack.ss_size = STACK_BYTES;
    fiber.entry.uc_link = nullptr;
    makecontext(&fiber.entry, enter, 0);
}

void run_cluster(Cluster& cluster) {
    the_cluster = &cluster;
    for (Fiber& fiber : *cluster.fibers) prepare(fiber);
    int last = -1;
    for (;;) {
        const bool early = cluster.shuffled && !cluster.under_way.empty() && cluster.random() % TURN == 0;
        if (early) happen(cluster);
        const int chosen = next(cluster, last);
        if (chosen >= 0) {
            last = chosen;
            resume((*cluster.fibers)[chosen]);
        } else if (!cluster.under_way.empty()) {
            happen(cluster);
        } else {
            break;
        }
    }
    for (const Fiber& fiber : *cluster.fibers) {
        if (!fiber.done) fail("deadlock");
    }
    for (const Block& block : cluster.blocks) {
        for (const Warp& warp : block.warps) {
            if (!warp.open_group.empty() || !warp.groups.empty()) fail("a warp ended without waiting for its products");
        }
    }
    the_cluster = nullptr;
}

Warp& warp() { return current->block->warps[current->index / WARP]; }

void wake_among(Fiber* fibers, int count, const void* object) {
    for (int i = 0; i < count; ++i) {
        if (fibers[i].sleeping_on == object) fibers[i].sleeping_on = nullptr;
    }
}

// Describes what a thread waits for.
std::string place_of(const Fiber& fiber) {
    if (fiber.sleeping_on == nullptr) return "running";
    const std::string what = fiber.what;
    if (fiber.stage < 0) return "waiting at " + what;
    return "waiting for stage " + std::to_string(fiber.stage) + " of " + what + " (phase parity " +
           std::to_string(fiber.parity) + ")";
}

bool same_place(const Fiber& a, const Fiber& b) { return a.done == b.done && place_of(a) == place_of(b); }

}  // namespace

void run(int64_t blocks, int threads, size_t shared, const std::function<void()>& kernel, int each) {
    const std::lock_guard<std::mutex> alone(one_launch);
    const uint64_t seed = static_cast<uint64_t>(setting("ARASFSR_EMULATION_SEED", 0));
    std::vector<Fiber> fibers(static_cast<size_t>(each) * threads);
    for (int64_t first = 0; first < blocks; first += each) {
        Cluster cluster{};
        cluster.blocks_of_launch = blocks;
        cluster.fibers = &fibers;
        cluster.kernel = &kernel;
        cluster.random.seed(seed * 1000003 + static_cast<uint64_t>(first));
        cluster.shuffled = seed != 0;
        cluster.turn = TURN << cluster.random() % 7;
        for (int rank = 0; rank < each; ++rank) {
            Fiber* block_fibers = fibers.data() + rank * threads;
            cluster.blocks.push_back(
                {first + rank, threads, block_fibers, {}, {}, Memory(shared), Memory(shared), threads});
            cluster.blocks.back().warps.resize((threads + WARP - 1) / WARP);
        }
        for (size_t i = 0; i < fibers.size(); ++i) {
            fibers[i].block = &cluster.blocks[i / threads];
            fibers[i].index = static_cast<int>(i % threads);
        }
        run_cluster(cluster);
    }
}

void fail(const char* problem) {
    std::fprintf(stderr, "emulation: %s\n", problem);
    const std::vector<Fiber>& fibers = *the_cluster->fibers;
    int listed = 0;
    for (size_t first = 0, end; first < fibers.size() && listed < 64; first = end) {
        const Fiber& fiber = fibers[first];
        for (end = first + 1; end < fibers.size() && end % WARP != 0 && same_place(fiber, fibers[end]);) ++end;
        if (fiber.done) continue;
        std::fprintf(stderr, "  block %lld, warp %d, lanes %d to %d: %s\n", static_cast<long long>(fiber.block->index),
                     fiber.index / WARP, fiber.index % WARP, fibers[end - 1].index % WARP, place_of(fiber).c_str());
        ++listed;
    }
    std::abort();
}

int shared_limit() { return static_cast<int>(setting("ARASFSR_EMULATION_SHARED", 227 * 1024)); }

int processors() { return static_cast<int>(setting("ARASFSR_EMULATION_PROCESSORS", 2)); }

int capability() { return static_cast<int>(setting("ARASFSR_EMULATION_CAPABILITY", 80)); }

int thread() { return current->index; }

int64_t block() { return current->block->index; }

int64_t blocks() { return the_cluster->blocks_of_launch; }

unsigned char* shared() { return current->block->shared.data(); }

int rank() { return static_cast<int>(current->block - the_cluster->blocks.data()); }

unsigned char* shared_of(int rank) {
    const Block& block = the_cluster->blocks[rank];
    if (block.running == 0) fail("a block reaches for the shared memory of one that has ended");
    return block.shared.data();
}

unsigned char* published_of(int rank) { return the_cluster->blocks[rank].published.data(); }

void publish() {
    const Block& block = *current->block;
    std::memcpy(block.published.data(), block.shared.data(), block.shared.bytes());
}

bool perhaps() { return the_cluster->shuffled && the_cluster->random() % 2; }

void later(std::function<void()> action) { the_cluster->under_way.push_back(std::move(action)); }

void sleep(const void* object, const char* what, int stage, int parity) {
    current->sleeping_on = object;
    current->what = what;
    current->stage = stage;
    current->parity = parity;
    if (_setjmp(current->context) == 0) _longjmp(scheduler, 1);
}

void wake(const void* object) {
    wake_among(the_cluster->fibers->data(), static_cast<int>(the_cluster->fibers->size()), object);
}

void barrier(int id, int threads) {
    Block& block = *current->block;
    int& arrived = block.arrived[id];
    if (threads == 0) threads = block.threads;
    if (++arrived < threads) {
        sleep(&arrived, "a barrier of the block");
    } else {
        arrived = 0;
        wake_among(block.fibers, block.threads, &arrived);
    }
}

void cluster_barrier() {
    int& arrived = the_cluster->arrived;
    if (++arrived < static_cast<int>(the_cluster->fibers->size())) {
        sleep(&arrived, "a barrier of the cluster");
    } else {
        arrived = 0;
        wake(&arrived);
    }
}

void collective(const char* name, void* operands, void (*execute)(void* const lanes[WARP])) {
    Warp& mine = warp();
    if (mine.arrived > 0 && std::strcmp(mine.name, name) != 0) fail("lanes of a warp are at different instructions");
    mine.name = name;
    mine.lanes[current->index % WARP] = operands;
    if (++mine.arrived < WARP) {
        sleep(&mine, name);
    } else {
        mine.arrived = 0;
        execute(mine.lanes);
        wake_among(current->block->fibers + current->index / WARP * WARP, WARP, &mine);
    }
}

void defer_allow(bool fenced) { warp().fenced = fenced; }

void defer(std::function<void()> product) {
    if (!warp().fenced) fail("a product without a fence since the last wait");
    warp().open_group.push_back(std::move(product));
    // A device may start at any time; the emulation does at the wait or, under a random schedule, perhaps at once.
    if (perhaps()) {
        for (Actions& group : warp().groups) {
            for (const auto& each : std::exchange(group, {})) each();
        }
        for (const auto& each : std::exchange(warp().open_group, {})) each();
    }
}

void defer_commit() { warp().groups.push_back(std::exchange(warp().open_group, {})); }

void defer_wait(int pending) {
    while (warp().groups.size() > static_cast<size_t>(pending)) {
        for (const auto& each : warp().groups.front()) each();
        warp().groups.pop_front();
    }
}

void copy_async(void* to, const void* from, int bytes) {
    std::memset(to, POISON, bytes);
    Copy copy{to, from, static_cast<size_t>(bytes), {}};
    const unsigned char* source = static_cast<const unsigned char*>(from);
    // A device reads at any time until the wait; the emulation does at the wait or, under a random schedule, perhaps at
    // once.
    if (perhaps()) copy.early.assign(source, source + bytes);
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

void store_bulk(void* to, const void* from, int bytes) {
    const unsigned char* seen = published_of(rank()) + (static_cast<const unsigned char*>(from) - shared());
    std::memset(to, POISON, bytes);
    current->stores.push_back([=] { std::memcpy(to, seen, bytes); });
    if (perhaps()) store_wait();
}

void store_wait() {
    for (const auto& store : std::exchange(current->stores, {})) store();
}

}  // namespace arasfsr::emulation
