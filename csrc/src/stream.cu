// Kernel: copies the weights of a problem into the order of a stream, some 1.2 MB before each render or chunk.
#include "stream.h"

namespace arasfsr {
namespace {

struct StreamArguments {
    arasfsr_problem problem;
    unsigned char* to;
};

constexpr int BLOCKS = 4;  // of each stage

// A chunk of consecutive inputs.
ARASFSR_DEVICE Chunk read(const uint16_t* first, int step) {
    if (step == 1) return *reinterpret_cast<const Chunk*>(first);
    Chunk result;
#pragma unroll
    for (int i = 0; i < CHUNK / 2; ++i) {
        result.pairs[i] = first[2 * i * step] | static_cast<uint32_t>(first[(2 * i + 1) * step]) << 16;
    }
    return result;
}

template <class S>
ARASFSR_KERNEL(THREADS, 1) order_kernel(const ARASFSR_PARAMETER StreamArguments arguments) {
    constexpr int CHUNKS = Stream::OUTPUTS * Stream::Stage::CHUNKS / BLOCKS;
    const int stage = static_cast<int>(hw::block() / BLOCKS), part = static_cast<int>(hw::block() % BLOCKS);
    const Stream::Source from = S::of(arguments.problem).source(arguments.problem, stage);
    const Stream::Stage to{arguments.to + static_cast<int64_t>(stage) * Stream::STAGE_BYTES};
    for (int i = hw::thread(); i < CHUNKS; i += THREADS) {
        const int row = (part * CHUNKS + i) / Stream::Stage::CHUNKS, chunk = i % Stream::Stage::CHUNKS;
        *reinterpret_cast<Chunk*>(to.chunk(row, chunk)) =
            read(from.first + row * from.output + chunk * CHUNK * from.input, from.input);
    }
}

}  // namespace

template <class S>
arasfsr_status order_stream(const arasfsr_problem& problem, unsigned char* to) {
    const int64_t stages = S::of(problem).stages();
    if (stages == 0) return OK;
    const Kernel<StreamArguments> kernel{&order_kernel<S>, 0, 0};
    return launch(kernel, "the order of the weights", stages * BLOCKS, problem.stream, {problem, to});
}

template arasfsr_status order_stream<Stream>(const arasfsr_problem&, unsigned char*);
template arasfsr_status order_stream<BackwardStream>(const arasfsr_problem&, unsigned char*);
template arasfsr_status order_stream<CoordinateStream>(const arasfsr_problem&, unsigned char*);

}  // namespace arasfsr
