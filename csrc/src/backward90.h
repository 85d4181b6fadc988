// Kernel for compute capability 9.0a: the backward of the content branch at a width of 256.
//
// A consumer takes parts of 16 queries (64 content rows) in turn. One's output layers and epilogues run under the
// other's products, whose weights come as the stream of the backward: transposed, the last layer first.
#ifndef ARASFSR_BACKWARD90_H
#define ARASFSR_BACKWARD90_H

#include "decoder_backward.h"
#include "streaming.h"

namespace arasfsr {

// What a thread knows of f at its accumulators, kept through a product: which are above 0.
struct Signs {
    uint32_t words[hw::ACCUMULATORS / 32]{};

    ARASFSR_DEVICE void set(int i, bool positive) { words[i / 32] |= static_cast<uint32_t>(positive) << i % 32; }
    ARASFSR_DEVICE bool positive(int i) const { return words[i / 32] >> i % 32 & 1; }
};

template <class T>
class Backward90 {
    static constexpr int NP = Stream::OUTPUTS, ROWS = 64;
    using Layers = DecoderBackward<T, NP, ROWS, Warpgroup, Rows>;

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
            prefetch(start, which, layer - 1);
            if (layer == 1) prefetch_next(start, which);
            content_layer(start, which, layer - 1);
        }
    }

    // As in backward.h.
    ARASFSR_DEVICE void content_layer(int64_t start, int which, int layer) {
        Accumulators total;
        Signs signs;
        StreamedProduct<T> product(ring);
        product.template multiply<Stream::PANELS, false>(total, layers.z);
        if (problem.modulated) {
            through_product(total, signs, start, which, layer);
            product.template multiply<Stream::PANELS, true>(total, layers.z);
        } else {
            find_signs(signs, start, which, layer);
        }
        Warpgroup::barrier();  // all have stored z, which others wrote; their products, too, are over
        int i = 0;
        total.each_pair([&](int row, int column, float& x, float& y) {
            layers.z.pair(row, column) =
                hw::pack<T>(signs.positive(i) ? x : 0.0f, signs.positive(i + 1) ? y : 0.0f);
            i += 2;
        });
    }

    // Two rows of a pair of columns, eight rows apart, and their s.
    struct Four {
        uint32_t f[2], s[2];
    };

    // From the gradient of f * s to that of s, summed over corners, and, in its place, to what reaches f. While a batch
    // is computed, the next one's loads are under way.
    ARASFSR_DEVICE void through_product(Accumulators& total, Signs& signs, int64_t start, int which, int layer) const {
        constexpr int BATCH = 4, BATCHES = hw::ACCUMULATORS / 4 / BATCH;
        const Place at(*this, start, which, layer);
        Four four[2][BATCH];
#pragma unroll
        for (int j = 0; j < BATCH; ++j) four[0][j] = at.load(j);
#pragma unroll
        for (int batch = 0; batch < BATCHES; ++batch) {
            if (batch + 1 < BATCHES) {
#pragma unroll
                for (int j = 0; j < BATCH; ++j) four[(batch + 1) % 2][j] = at.load((batch + 1) * BATCH + j);
            }
#pragma unroll
            for (int j = 0; j < BATCH; ++j) {
                const int i = batch * BATCH + j;
                at.through_product(total.numbers + 4 * i, signs, i, four[batch % 2][j], which > 0);
            }
        }
    }

    ARASFSR_DEVICE void find_signs(Signs& signs, int64_t start, int which, int layer) const {
        const Place at(*this, start, which, layer);
#pragma unroll
        for (int i = 0; i < hw::ACCUMULATORS / 4; ++i) {
            const Four four = at.load(i);
            Place::note(signs, i, four);
        }
    }

    // Where a thread's accumulators lie in f, s and the gradient of s.
    class Place {
      public:
        ARASFSR_DEVICE Place(const Backward90& kernel, int64_t start, int which, int layer) {
            const int thread = Warpgroup::thread(), lane = thread % hw::WARP, corner = lane / 4 % CORNERS;
            const int row = thread / hw::WARP * 16 + lane / 4, column = lane % 4 * 2;
            const int64_t first_s = kernel.layers.at_s(layer, start) + row / CORNERS * NP + column;
            odd = corner % 2;
            upper = corner / 2;
            modulated = kernel.problem.modulated;
            f = static_cast<const uint16_t*>(kernel.call.kept.f) + kernel.layers.at(layer, start, which) + row * NP +
                column;
            s = static_cast<const uint16_t*>(kernel.call.kept.s) + first_s;
            of_s = kernel.call.gradients.s + first_s + odd * (APART / CORNERS * NP) + upper;
        }

        ARASFSR_DEVICE Four load(int i) const {
            Four four{};
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                four.f[j] = hw::load_here(f + j * APART * NP + i * 8);
                if (modulated) four.s[j] = hw::load_here(s + j * (APART / CORNERS * NP) + i * 8);
            }
            return four;
        }

        static ARASFSR_DEVICE void note(Signs& signs, int i, const Four& four) {
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                signs.set(4 * i + 2 * j, hw::lower<T>(four.f[j]) > 0.0f);
                signs.set(4 * i + 2 * j + 1, hw::upper<T>(four.f[j]) > 0.0f);
            }
        }

        // The four lanes of a query's corners sum two rows of two numbers, and each of them gets one sum.
        ARASFSR_DEVICE void through_product(float* numbers, Signs& signs, int i, const Four& four, bool add) const {
            note(signs, i, four);
            float x[2], y[2];
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                x[j] = numbers[2 * j] * hw::lower<T>(four.f[j]);
                y[j] = numbers[2 * j + 1] * hw::upper<T>(four.f[j]);
                numbers[2 * j] *= hw::lower<T>(four.s[j]);
                numbers[2 * j + 1] *= hw::upper<T>(four.s[j]);
            }
            const float sum_x = (odd ? x[1] : x[0]) + hw::shuffle_xor(odd ? x[0] : x[1], 4);
            const float sum_y = (odd ? y[1] : y[0]) + hw::shuffle_xor(odd ? y[0] : y[1], 4);
            const float sum = (upper ? sum_y : sum_x) + hw::shuffle_xor(upper ? sum_x : sum_y, 8);
            float& to = of_s[i * 8];
            to = add ? to + sum : sum;
        }

      private:
        static constexpr int APART = 8;  // rows

        const uint16_t *f, *s;
        float* of_s;
        bool odd, upper, modulated;
    };

    // One thread begins to bring a layer's f and s nearer.
    ARASFSR_DEVICE void prefetch(int64_t start, int which, int layer) const {
        if (Warpgroup::thread() > 0) return;
        const auto* f = static_cast<const uint16_t*>(call.kept.f);
        const auto* s = static_cast<const uint16_t*>(call.kept.s);
        hw::prefetch(f + layers.at(layer, start, which), ROWS * NP * 2);
        if (problem.modulated) hw::prefetch(s + layers.at_s(layer, start), QUERIES * NP * 2);
    }

    // Likewise of the last layer, of what comes after this image's part.
    ARASFSR_DEVICE void prefetch_next(int64_t start, int which) const {
        if (++which == problem.images) {
            which = 0;
            start += hw::blocks() / CLUSTER * AT_A_TIME * QUERIES;
        }
        if (start < parts() * QUERIES) prefetch(start, which, problem.layers - 1);
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
