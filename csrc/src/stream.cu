// Kernel: brings the weights of a problem into a stream's order, some 1.2 MB before each picture or chunk.
#include "stream.h"

namespace arasfsr {
namespace {

struct StreamArguments {
    arasfsr_problem problem;
    unsigned char* to;
};

constexpr int BLOCKS = 4;  // for each stage

ARASFSR_KERNEL(THREADS, 1) order_kernel(const ARASFSR_PARAMETER StreamArguments arguments) {
    constexpr int CHUNKS = Stream::OUTPUTS * Stream::Stage::CHUNKS / BLOCKS;
    const Stream stream = Stream::of(arguments.problem);
    const int stage = static_cast<int>(hw::block() / BLOCKS), part = static_cast<int>(hw::block() % BLOCKS);
    const Stream::Source from = stream.source(arguments.problem, stage);
    const Stream::Stage to{arguments.to + static_cast<int64_t>(stage) * Stream::STAGE_BYTES};
    for (int i = hw::thread(); i < CHUNKS; i += THREADS) {
        const int row = (part * CHUNKS + i) / Stream::Stage::CHUNKS, chunk = i % Stream::Stage::CHUNKS;
        *reinterpret_cast<Chunk*>(to.chunk(row, chunk)) =
            *reinterpret_cast<const Chunk*>(from.first + row * from.row_length + chunk * CHUNK);
    }
}

}  // namespace

arasfsr_status order_stream(const arasfsr_problem& problem, unsigned char* to) {
    const int64_t stages = Stream::of(problem).stages();
    if (stages == 0) return OK;
    const Kernel<StreamArguments> kernel{&order_kernel, 0, 0};
    return launch(kernel, "the order of the weights", stages * BLOCKS, problem.stream, {problem, to});
}

}  // namespace arasfsr
