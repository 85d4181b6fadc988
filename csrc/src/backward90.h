// Kernel for compute capability 9.0a: the backward of the content branch at a padded width of 256.
//
// A consumer processes one part of 16 queries (64 content rows) after another. The output layers and epilogues of one
// consumer overlap with the products of the other, whose weights are those of BackwardStream.
#ifndef ARASFSR_BACKWARD90_H
#define ARASFSR_BACKWARD90_H

#include "decoder_backward.h"
#include "kernels.h"
#include "streaming.h"

namespace arasfsr {

// The activation's derivatives at a thread's accumulators, a bit each, to be kept in registers through a product.
struct Derivatives {
    uint32_t words[hw::ACCUMULATORS / 32]{};

    ARASFSR_DEVICE void set(int i, bool passes) { words[i / 32] |= static_cast<uint32_t>(passes) << i % 32; }
    ARASFSR_DEVICE bool passes(int i) const { return words[i / 32] >> i % 32 & 1; }

    // Sets those of the i-th four accumulators, from two pairs of f.
    template <class T>
    ARASFSR_DEVICE void set_four(int i, const uint32_t (&f)[2]) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            set(4 * i + 2 * j, activation_passes(hw::lower<T>(f[j])));
            set(4 * i + 2 * j + 1, activation_passes(hw::upper<T>(f[j])));
        }
    }
};

template <class T>
class Backward90 {
    static constexpr int NP = Stream::OUTPUTS, ROWS = 64;
    using Layers = DecoderBackward<T, NP, ROWS, Warpgroup, Rows>;
    using TopModulation = Tile<NP>;
    static constexpr int PIXELS = Layers::QUERIES * 3;

    struct Seeds {  // of a part's gradients
        float share[ROWS], pixels[PIXELS];
    };

    // A few columns of a warp's rows of f of the layer below, and of its queries of s; copied while others are read.
    struct Batch {
        static constexpr int COLUMNS = 32, ROWS_OF_WARP = 16, QUERIES_OF_WARP = ROWS_OF_WARP / CORNERS;
        using Numbers = Tile<COLUMNS>;
        static constexpr int s = Numbers::bytes(ROWS_OF_WARP);
        static constexpr int BYTES = s + Numbers::bytes(QUERIES_OF_WARP);
    };
    static constexpr int BATCHES = NP / Batch::COLUMNS;
    static constexpr int AHEAD = 3;  // batches that are being copied or read
    static constexpr int WARP_BYTES = AHEAD * Batch::BYTES, BELOW_BYTES = Warpgroup::WARPS * WARP_BYTES;
    static_assert(TopModulation::bytes(Layers::QUERIES) <= BELOW_BYTES, "no room there for the last layer's s");

    struct Layout {  // of shared memory; the operands of wgmma come first, which need an alignment of 1024 bytes
        static constexpr int z = 0;
        static constexpr int ring = z + CONSUMERS * Rows::BYTES;
        static constexpr int below = ring + StreamRing::BYTES;
        static constexpr int seeds = below + CONSUMERS * BELOW_BYTES;
        static constexpr int output = seeds + CONSUMERS * static_cast<int>(sizeof(Seeds));  // weights
        static constexpr int barriers = output + 3 * NP * static_cast<int>(sizeof(float));
        static constexpr int end = barriers + static_cast<int>(sizeof(StreamRing::Barriers));
    };

  public:
    static constexpr int SHARED_BYTES = Layout::end, QUERIES = Layers::QUERIES;
    static_assert(SHARED_BYTES <= 227 * 1024, "more than a block can have");
    static_assert(Layout::ring % 1024 == 0, "swizzles repeat every 1024 bytes");
    static_assert(ARASFSR_TILE / QUERIES % AT_A_TIME == 0, "in every turn every consumer must have a part");

    explicit ARASFSR_DEVICE Backward90(const BackwardArguments& arguments)
        : call(arguments),
          problem(arguments.problem),
          layers(arguments, hw::shared() + Layout::z + consumer_index() * Rows::BYTES),
          ring(hw::shared() + Layout::ring, hw::shared() + Layout::barriers) {}

    ARASFSR_DEVICE void run() {
        for (int i = hw::thread(); i < 3 * NP; i += STREAMING_THREADS) output_weights()[i] = problem.output_weight[i];
        run_cluster(  // which begins with a barrier
            ring, [&] { return parts(); }, [&] { produce(); }, [&](int64_t part) { consume(part); });
    }

  private:
    ARASFSR_DEVICE int64_t parts() const { return call.kept.tiles * (ARASFSR_TILE / QUERIES); }

    ARASFSR_DEVICE void produce() {
        const int stages = BackwardStream::of(problem).stages();
        for (int image_index = 0; image_index < problem.images; ++image_index) ring.fill(call.stream, 0, stages);
    }

    ARASFSR_DEVICE void consume(int64_t part) {
        for (int image_index = 0; image_index < problem.images; ++image_index) image(part * QUERIES, image_index);
    }

    ARASFSR_DEVICE void image(int64_t start, int image_index) {
        const int last = problem.layers - 1;
        if (last > 0) prefetch(start, image_index, last - 1);
        Warpgroup::barrier();  // z of the previous image is stored
        fetch_top(start, image_index);
        layers.output_layer(start, image_index, Top{*this});
        for (int layer = last;; --layer) {  // z holds the gradient of f[layer] before the activation
            Warpgroup::publish();
            store(start, image_index, layer);
            if (layer == 0) break;
            if (layer > 1) {
                prefetch(start, image_index, layer - 2);
            } else {
                prefetch_next(start, image_index);
            }
            content_layer(start, image_index, layer - 1);
        }
    }

    // Stores z; for layers after the first, the copy runs while the next product reads it.
    ARASFSR_DEVICE void store(int64_t start, int image_index, int layer) const {
        if (layer == 0 || !kept_as_rows(problem)) {
            layers.store(start, image_index, layer);
        } else if (Warpgroup::thread() == 0) {
            auto* to = static_cast<uint16_t*>(call.gradients.z) + layers.at(layer, start, image_index);
            hw::store_bulk(to, layers.z.base, Rows::BYTES);
        }
    }

    // Copies the inputs of the output layer to shared memory, f to the place of z.
    ARASFSR_DEVICE void fetch_top(int64_t start, int image_index) const {
        constexpr int NUMBERS = CHUNK_BYTES / static_cast<int>(sizeof(float));
        const int thread = Warpgroup::thread(), last = problem.layers - 1;
        if (kept_as_rows(problem)) {
            fetch_tile<ROWS, Warpgroup>(Plain{layers.z.base}, f_of(start, image_index, last));
        } else {
            fetch_tile<ROWS, Warpgroup>(layers.z, f_of(start, image_index, last));
        }
        if (problem.modulated) fetch_tile<QUERIES, Warpgroup>(TopModulation{below_place()}, s_of(start, last));
        const float* share = call.kept.share + layers.first_row(start, image_index);
        if (thread < ROWS / NUMBERS) hw::copy16(seeds().share + thread * NUMBERS, share + thread * NUMBERS);
        if (thread < PIXELS) seeds().pixels[thread] = layers.pixel(start, image_index, thread);
        hw::copy_commit();
        hw::copy_wait<0>();
        Warpgroup::barrier();
    }

    // The inputs of the output layer, from shared memory.
    struct Top {
        const Backward90& kernel;
        ARASFSR_DEVICE uint32_t f(int row, int column) const { return kernel.layers.z.pair(row, column); }
        ARASFSR_DEVICE uint32_t s(int query, int column) const {
            return TopModulation{kernel.below_place()}.pair(query, column);
        }
        ARASFSR_DEVICE float pixel(int query, int channel) const { return kernel.seeds().pixels[query * 3 + channel]; }
        ARASFSR_DEVICE float share(int row) const { return kernel.seeds().share[row]; }
        ARASFSR_DEVICE hw::Two weight(int channel, int column) const {
            return *reinterpret_cast<const hw::Two*>(kernel.output_weights() + channel * NP + column);
        }
    };

    // As in backward.h. The first batches of the layer below are copied while the first product runs.
    ARASFSR_DEVICE void content_layer(int64_t start, int image_index, int layer) {
        Accumulators total;
        Derivatives derivatives;
        StreamedProduct<T> product(ring);
        if (problem.modulated) {
            Below<true>(*this, start, image_index, layer).begin();
        } else {
            Below<false>(*this, start, image_index, layer).begin();
        }
        product.template multiply<Stream::PANELS, false>(total, layers.z);
        if (problem.modulated) {
            through_product(total, derivatives, start, image_index, layer);
            product.template multiply<Stream::PANELS, true>(total, layers.z);
        } else {
            const Below<false> below(*this, start, image_index, layer);
            below.each([&](int i, const Four& four) { derivatives.template set_four<T>(i, four.f); });
        }
        if (Warpgroup::thread() == 0) hw::store_wait();
        Warpgroup::barrier();  // z is stored, and all have finished their products with it
        int i = 0;
        total.each_pair([&](int row, int column, float& x, float& y) {
            layers.z.pair(row, column) =
                hw::pack<T>(gradient_if(derivatives.passes(i), x), gradient_if(derivatives.passes(i + 1), y));
            i += 2;
        });
    }

    // Two rows of a pair of columns, eight rows apart, and their s.
    struct Four {
        uint32_t f[2], s[2];
    };

    // A warp's part of f of the layer below and, with modulation, of s, copied in batches.
    template <bool MODULATED>
    class Below {
      public:
        ARASFSR_DEVICE Below(const Backward90& kernel, int64_t start, int image_index, int layer) {
            const int thread = Warpgroup::thread(), warp = thread / hw::WARP, lane = thread % hw::WARP;
            row = lane / Numbers::CHUNKS;
            chunk = lane % Numbers::CHUNKS;
            place = kernel.below_place() + warp * WARP_BYTES;
            const int first = warp * Batch::ROWS_OF_WARP + row;
            const uint16_t* const f = kernel.f_of(start, image_index, layer);
            const int permuted = MODULATED ? chunk ^ first % 8 : chunk;  // as kept_as_rows has it
            even = f + first * ROW_STRIDE + permuted * CHUNK;
            odd = even + (permuted < Numbers::CHUNKS ? Batch::COLUMNS : -Batch::COLUMNS);
            s = kernel.s_of(start, layer) + (warp * Batch::QUERIES_OF_WARP + row) * NP + chunk * CHUNK;
        }

        ARASFSR_DEVICE void begin() const {
#pragma unroll
            for (int batch = 0; batch < AHEAD; ++batch) fetch(batch);
        }

        // Starts to copy a batch, if there is one. The place must be free.
        ARASFSR_DEVICE void fetch(int batch) const {
            if (batch < BATCHES) {
                const uint16_t* const from = (batch % 2 ? odd : even) + batch / 2 * (MODULATED ? ROWS * 64 : 64);
#pragma unroll
                for (int i = 0; i < Batch::ROWS_OF_WARP; i += hw::WARP / Numbers::CHUNKS) {
                    hw::copy16(f_in(batch).chunk(row + i, chunk), from + i * ROW_STRIDE);
                }
                if (MODULATED && row < Batch::QUERIES_OF_WARP) {
                    hw::copy16(s_in(batch).chunk(row, chunk), s + batch * Batch::COLUMNS);
                }
            }
            hw::copy_commit();
        }

        // Calls function(i, four) for every four of the thread's accumulators, while the next batches are copied.
        template <class Function>
        ARASFSR_DEVICE void each(const Function& function) const {
            constexpr int FOURS = Batch::COLUMNS / 8, APART = 8;  // of a batch; rows
            const int lane = hw::thread() % hw::WARP, at = lane / 4, column = lane % 4 * 2;
#pragma unroll
            for (int batch = 0; batch < BATCHES; ++batch) {
                hw::copy_wait<AHEAD - 1>();
                hw::warp_barrier();  // the batch is visible to the warp
                Four fours[FOURS]{};
#pragma unroll
                for (int i = 0; i < FOURS; ++i) {
#pragma unroll
                    for (int j = 0; j < 2; ++j) {
                        fours[i].f[j] = f_in(batch).pair(at + j * APART, column + i * 8);
                        if (MODULATED) fours[i].s[j] = s_in(batch).pair((at + j * APART) / CORNERS, column + i * 8);
                    }
                }
                hw::warp_barrier();  // all have read it
                fetch(batch + AHEAD);
#pragma unroll
                for (int i = 0; i < FOURS; ++i) function(batch * FOURS + i, fours[i]);
            }
        }

      private:
        using Numbers = typename Batch::Numbers;
        static constexpr int ROW_STRIDE = MODULATED ? 64 : NP;  // numbers from row to row of f

        ARASFSR_DEVICE Numbers f_in(int batch) const { return {place + batch % AHEAD * Batch::BYTES}; }
        ARASFSR_DEVICE Numbers s_in(int batch) const { return {place + batch % AHEAD * Batch::BYTES + Batch::s}; }

        int row, chunk;  // the first that the lane copies
        unsigned char* place;
        const uint16_t *even, *odd, *s;  // the lane's first chunk in even and odd batches of f, and in s
    };

    // From the gradient of f * s to that of s, summed over corners, and in place to its contribution to that of f.
    ARASFSR_DEVICE void through_product(
        Accumulators& total, Derivatives& derivatives, int64_t start, int image_index, int layer) const {
        constexpr int APART = 8;  // rows of a thread
        const int thread = Warpgroup::thread(), lane = thread % hw::WARP, corner = lane / 4 % CORNERS;
        const int query = (thread / hw::WARP * 16 + lane / 4) / CORNERS, column = lane % 4 * 2;
        const bool odd = corner % 2, upper = corner / 2;
        float* const of_s = call.gradients.s + layers.at_s(layer, start) +
                            (query + odd * (APART / CORNERS)) * NP + column + upper;
        const Below<true> below(*this, start, image_index, layer);
        below.each([&](int i, const Four& four) {
            derivatives.template set_four<T>(i, four.f);
            float* const numbers = total.numbers + 4 * i;
            float x[2], y[2];
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                x[j] = numbers[2 * j] * hw::lower<T>(four.f[j]);
                y[j] = numbers[2 * j + 1] * hw::upper<T>(four.f[j]);
                numbers[2 * j] *= hw::lower<T>(four.s[j]);
                numbers[2 * j + 1] *= hw::upper<T>(four.s[j]);
            }
            // The four lanes of a query's corners hold two rows of two numbers; each of them gets one of the four sums.
            const float sum_x = (odd ? x[1] : x[0]) + hw::shuffle_xor(odd ? x[0] : x[1], 4);
            const float sum_y = (odd ? y[1] : y[0]) + hw::shuffle_xor(odd ? y[0] : y[1], 4);
            const float sum = (upper ? sum_y : sum_x) + hw::shuffle_xor(upper ? sum_x : sum_y, 8);
            float& to = of_s[i * 8];
            to = image_index > 0 ? to + sum : sum;
        });
    }

    // Addresses in shared memory, computed each time: kept in registers, they would spill.
    ARASFSR_DEVICE unsigned char* below_place() const {
        return hw::shared() + Layout::below + consumer_index() * BELOW_BYTES;
    }
    ARASFSR_DEVICE Seeds& seeds() const {
        return reinterpret_cast<Seeds*>(hw::shared() + Layout::seeds)[consumer_index()];
    }
    ARASFSR_DEVICE float* output_weights() const { return reinterpret_cast<float*>(hw::shared() + Layout::output); }

    // The part's first rows of f[layer] and s[layer].
    ARASFSR_DEVICE const uint16_t* f_of(int64_t start, int image_index, int layer) const {
        return static_cast<const uint16_t*>(call.kept.f) + layers.at(layer, start, image_index);
    }
    ARASFSR_DEVICE const uint16_t* s_of(int64_t start, int layer) const {
        return static_cast<const uint16_t*>(call.kept.s) + layers.at_s(layer, start);
    }

    // One thread starts to prefetch a layer's f and s into the L2 cache.
    ARASFSR_DEVICE void prefetch(int64_t start, int image_index, int layer) const {
        if (Warpgroup::thread() > 0) return;
        hw::prefetch(f_of(start, image_index, layer), ROWS * NP * 2);
        if (problem.modulated) hw::prefetch(s_of(start, layer), QUERIES * NP * 2);
    }

    // The same for the last layer of the next image, or of the next part.
    ARASFSR_DEVICE void prefetch_next(int64_t start, int image_index) const {
        if (++image_index == problem.images) {
            image_index = 0;
            start += hw::blocks() / CLUSTER * AT_A_TIME * QUERIES;
        }
        if (start < parts() * QUERIES) prefetch(start, image_index, problem.layers - 1);
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

template <class T>
Kernel<BackwardArguments> Backward90Kernels<T>::find() {
    return streaming_kernel<Backward90<T>>(&backward90<T>);
}

}  // namespace arasfsr
#endif
