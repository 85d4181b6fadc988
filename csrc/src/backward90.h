// Kernel for compute capability 9.0a: the backward of the content branch at a width of 256.
//
// A consumer takes parts of 16 queries (64 content rows) in turn. One's output layers and epilogues run under the
// other's products, whose weights come as the stream of the backward: transposed, the last layer first.
#ifndef ARASFSR_BACKWARD90_H
#define ARASFSR_BACKWARD90_H

#include "decoder_backward.h"
#include "streaming.h"

namespace arasfsr {

// Loads for all pairs at once would take more registers than there are.
struct InTurns : Accumulators {
    template <class Function>
    ARASFSR_DEVICE void each_pair(const Function& function) {
        Accumulators::each_pair<32>(function);
    }
};

template <class T>
class Backward90 {
    static constexpr int ROWS = 64;
    using Layers = DecoderBackward<T, Stream::OUTPUTS, ROWS, Warpgroup, Rows>;

    struct Layout {  // of shared memory; what wgmma reads comes first, as swizzles want it aligned
        static constexpr int z = 0;
        static constexpr int ring = z + CONSUMERS * Rows::BYTES;
        static constexpr int barriers = ring + StreamRing::BYTES;
        static constexpr int end = barriers + static_cast<int>(sizeof(StreamRing::Barriers));
    };

  public:
    static constexpr int SHARED_BYTES = Layout::end, QUERIES = Layers::QUERIES;
    static_assert(Layout::ring % 1024 == 0, "swizzles repeat every 1024 bytes");
    static_assert(ARASFSR_TILE / QUERIES % AT_A_TIME == 0, "in every turn every consumer has a part");

    explicit ARASFSR_DEVICE Backward90(const BackwardArguments& arguments)
        : call(arguments),
          problem(arguments.problem),
          layers(arguments, hw::shared() + Layout::z + consumer_number() * Rows::BYTES),
          ring(hw::shared() + Layout::ring, hw::shared() + Layout::barriers) {}

    ARASFSR_DEVICE void run() {
        run_cluster(
            ring, [&] { return parts(); }, [&] { produce(); }, [&](int64_t part) { consume(part); });
    }

  private:
    ARASFSR_DEVICE int64_t parts() const { return call.kept.tiles * (ARASFSR_TILE / QUERIES); }

    ARASFSR_DEVICE void produce() {
        const int stages = BackwardStream::of(problem).stages();
        for (int which = 0; which < problem.images; ++which) ring.fill(call.stream, 0, stages);
    }

    ARASFSR_DEVICE void consume(int64_t part) {
        for (int which = 0; which < problem.images; ++which) image(part * QUERIES, which);
    }

    ARASFSR_DEVICE void image(int64_t start, int which) {
        Warpgroup::barrier();  // the image before is done with z
        layers.output_layer(start, which);
        for (int layer = problem.layers - 1;; --layer) {  // z is that of f[layer]
            Warpgroup::publish();
            layers.store(start, which, layer);
            if (layer == 0) break;
            content_layer(start, which, layer - 1);
        }
    }

    // As in backward.h.
    ARASFSR_DEVICE void content_layer(int64_t start, int which, int layer) {
        InTurns total;
        StreamedProduct<T> product(ring);
        if (problem.modulated) {
            product.template multiply<Stream::PANELS, false>(total, layers.z);
            layers.through_product(total, start, which, layer);
            product.template multiply<Stream::PANELS, true>(total, layers.z);
        } else {
            product.template multiply<Stream::PANELS, false>(total, layers.z);
        }
        Warpgroup::barrier();  // all have stored z, which others wrote; their products, too, are over
        layers.hidden_layer(total, start, which, layer);
    }

    const BackwardArguments& call;
    const arasfsr_problem& problem;
    const Layers layers;
    StreamRing ring;
};

template <class T>
ARASFSR_KERNEL(STREAMING_THREADS, 1) backward90(const ARASFSR_PARAMETER BackwardArguments arguments) {
    Backward90<T>(arguments).run();
}

}  // namespace arasfsr
#endif
