// Kernel for compute capability 9.0a: from the LR map G to the output, or to the activations of every layer, kept for
// the backward, at a padded width of 256.
//
// A consumer processes one tile of 64 queries after another: first the coordinate branch (64 rows), then for every
// image the four parts of 64 content rows. The sines and epilogues of one consumer overlap with the products of the
// other. A product reads f from shared memory and f s from registers.
#ifndef ARASFSR_FORWARD90_H
#define ARASFSR_FORWARD90_H

#include "decoder.h"
#include "kernels.h"
#include "streaming.h"

namespace arasfsr {

template <class T, Keeps KEEPS>
class Forward90 {
    static constexpr int NP = Stream::OUTPUTS, ROWS = 64;
    static constexpr int PARTS = ARASFSR_TILE * CORNERS / ROWS;
    static constexpr int QUERIES_OF_WARP = ROWS / CORNERS / Warpgroup::WARPS;  // whose rows a warp's products compute
    using Product = StreamedProduct<T>;
    using Layers = Decoder<T, NP, ROWS, Warpgroup, Rows, KEEPS>;

    static constexpr int S_BYTES = Tile<NP>::bytes(Layers::QUERIES);
    static constexpr int BIAS_BYTES = NP * static_cast<int>(sizeof(float));

    struct Layout {  // of shared memory; the operands of wgmma come first, which need an alignment of 1024 bytes
        static constexpr int f = 0;
        static constexpr int ring = f + CONSUMERS * Rows::BYTES;
        static constexpr int s = ring + StreamRing::BYTES;
        static constexpr int rows = s + CONSUMERS * S_BYTES;
        static constexpr int skips = rows + CONSUMERS * Layers::ROWS_BYTES;
        static constexpr int biases = skips + CONSUMERS * Layers::SKIPS_BYTES;  // two for each consumer
        static constexpr int output = biases + CONSUMERS * 2 * BIAS_BYTES;    // weights
        static constexpr int barriers = output + 3 * BIAS_BYTES;
        static constexpr int end = barriers + static_cast<int>(sizeof(StreamRing::Barriers));
    };

  public:
    static constexpr int SHARED_BYTES = Layout::end, QUERIES = Layers::QUERIES;
    static_assert(SHARED_BYTES <= 227 * 1024, "more than a block can have");
    static_assert(Layout::ring % 1024 == 0, "swizzles repeat every 1024 bytes");

    explicit ARASFSR_DEVICE Forward90(const ForwardArguments& arguments)
        : call(arguments),
          problem(arguments.problem),
          consumer(consumer_index()),
          layers(arguments, hw::shared() + Layout::f + consumer * Rows::BYTES,
                 hw::shared() + Layout::s + consumer * S_BYTES,
                 hw::shared() + Layout::rows + consumer * Layers::ROWS_BYTES,
                 hw::shared() + Layout::skips + consumer * Layers::SKIPS_BYTES),
          ring(hw::shared() + Layout::ring, hw::shared() + Layout::barriers) {}

    ARASFSR_DEVICE void run() {
        for (int i = hw::thread(); i < 3 * NP; i += STREAMING_THREADS) output_weights()[i] = problem.output_weight[i];
        run_cluster(  // which begins with a barrier
            ring, [&] { return call.kept.tiles; }, [&] { produce(); }, [&](int64_t tile) { consume(tile); });
    }

  private:
    ARASFSR_DEVICE void produce() {
        const Stream stream = Stream::of(problem);
        const int content = stream.coordinate_stages(), end = stream.stages();
        ring.fill(call.stream, 0, content);
        for (int i = 0; i < problem.images * PARTS; ++i) ring.fill(call.stream, content, end);
    }

    ARASFSR_DEVICE void consume(int64_t tile) {
        if (tile >= call.kept.tiles) {
            const Stream stream = Stream::of(problem);
            ring.drain(stream.coordinate_stages() + problem.images * PARTS * stream.content_stages());
            return;
        }
        if (problem.modulated) coordinate_branch(tile);
        for (int image_index = 0; image_index < problem.images; ++image_index) {
            for (int part = 0; part < PARTS; ++part) content_branch(tile, image_index, part);
        }
        if (layers.keeps()) {
            wait_for_kept();
            Warpgroup::barrier();
        }
    }

    // Keeps f, which holds f_layer; the copy runs while the next layer reads it.
    ARASFSR_DEVICE void keep_f(int64_t start, int image_index, int layer) const {
        if (!kept_as_rows(problem)) {
            layers.keep_f(start, image_index, layer);
        } else if (Warpgroup::thread() == 0) {
            hw::store_bulk(layers.kept_f(start, image_index, layer), layers.f.base, Rows::BYTES);
        }
    }

    // Called before a barrier after which f is overwritten.
    ARASFSR_DEVICE void wait_for_kept() const {
        if (layers.keeps() && Warpgroup::thread() == 0) hw::store_wait();
    }

    ARASFSR_DEVICE void coordinate_branch(int64_t tile) {
        fetch_bias(problem.modulator_bias, 0);
        layers.encode(tile);
        receive();
        for (int layer = 0; layer < problem.layers; ++layer) {
            Accumulators angles;
            if (layer == 0) {
                multiply<1>(angles);
            } else {
                multiply<Stream::PANELS>(angles);
            }
            modulation(angles, tile, layer);
        }
        Warpgroup::barrier();  // s is visible to all
    }

    ARASFSR_DEVICE void modulation(Accumulators& angles, int64_t tile, int layer) {
        Warpgroup::barrier();  // all have read f
        if (layer + 1 < problem.layers) fetch_bias(problem.modulator_bias + (layer + 1) * NP, layer + 1);
        layers.modulation(angles, InShared{bias(layer)}, layers.cosines_of(tile, layer));
        receive();
        store_tile<ARASFSR_TILE, Warpgroup>(s_of(tile, layer), layers.f);
    }

    ARASFSR_DEVICE uint16_t* s_of(int64_t tile, int layer) const {
        return layers.s_of(hw::block() * CONSUMERS + consumer, tile, layer);
    }

    ARASFSR_DEVICE void content_branch(int64_t tile, int image_index, int part) {
        const int64_t start = tile * ARASFSR_TILE + part * QUERIES;
        fetch(tile, part, 1);
        layers.find_rows(start, image_index);
        if (!layers.keeps()) layers.find_skip(start, image_index);
        wait_for_kept();
        Warpgroup::barrier();
        layers.first_layer();
        receive();
        if (layers.keeps()) keep_f(start, image_index, 1);
        for (int layer = 1; layer < problem.layers; ++layer) {  // f holds f_layer, s holds s_layer
            Accumulators product;
            if (problem.modulated) {
                multiply_modulated(product, [&] { fetch(tile, part, layer + 1); });
            } else {
                fetch(tile, part, layer + 1);
                multiply<Stream::PANELS>(product);
            }
            wait_for_kept();
            Warpgroup::barrier();  // all have read f
            layers.hidden_layer(product, InShared{bias(layer)});
            if (layer + 1 < problem.layers || layers.keeps()) {
                receive();
            } else {
                receive_in_warp();
            }
            if (layers.keeps()) keep_f(start, image_index, layer + 1);
        }
        if (!layers.keeps()) output_layer(start, image_index);
#ifndef ARASFSR_TEST_MISSING_BARRIER
        Warpgroup::barrier();  // all have read f, s and what else the part left in shared memory
#endif
    }

    // sum over corners of share * O (f_L * s_L), + bias + skip, to the output. A warp processes the queries whose rows
    // it has computed, a lane eight columns.
    ARASFSR_DEVICE void output_layer(int64_t start, int image_index) const {
        const int thread = Warpgroup::thread(), lane = thread % hw::WARP, first = thread / hw::WARP * QUERIES_OF_WARP;
        float weights[3][CHUNK];
#pragma unroll
        for (int channel = 0; channel < 3; ++channel) {
#pragma unroll
            for (int i = 0; i < CHUNK; i += 4) {
                const Four four = *reinterpret_cast<const Four*>(output_weights() + channel * NP + lane * CHUNK + i);
#pragma unroll
                for (int j = 0; j < 4; ++j) weights[channel][i + j] = four.of[j];
            }
        }
        float sums[QUERIES_OF_WARP * 4];  // three channels, and an unused one
#pragma unroll
        for (int q = 0; q < QUERIES_OF_WARP; ++q) {
            float combined[CHUNK] = {};
#pragma unroll
            for (int v = 0; v < CORNERS; ++v) {
                const int row = (first + q) * CORNERS + v;
                const Chunk chunk = *reinterpret_cast<const Chunk*>(layers.f.chunk(row, lane));
                const float share = layers.rows[row].share;
#pragma unroll
                for (int i = 0; i < CHUNK; ++i) combined[i] += share * number(chunk, i);
            }
            if (problem.modulated) {
                const Chunk chunk = *reinterpret_cast<const Chunk*>(layers.s.chunk(first + q, lane));
#pragma unroll
                for (int i = 0; i < CHUNK; ++i) combined[i] *= number(chunk, i);
            }
#pragma unroll
            for (int channel = 0; channel < 4; ++channel) {
                float& sum = sums[q * 4 + channel];
                sum = 0.0f;
#pragma unroll
                for (int i = 0; i < CHUNK && channel < 3; ++i) sum += combined[i] * weights[channel][i];
            }
        }
        const float colour = hw::warp_sums_apart(sums);
        const int channel = lane / 2 % 4;
        if (lane % 2 == 0 && channel < 3) layers.write_output(start, image_index, first + lane / 8, channel, colour);
    }

    static ARASFSR_DEVICE float number(const Chunk& chunk, int i) {
        return i % 2 == 0 ? hw::lower<T>(chunk.pairs[i / 2]) : hw::upper<T>(chunk.pairs[i / 2]);
    }

    // Starts copying the other inputs of the layer after f_layer: the bias, and the part's s_layer, of which a warp
    // copies what it will read.
    ARASFSR_DEVICE void fetch(int64_t tile, int part, int layer) {
        if (problem.modulated) {
            const int thread = Warpgroup::thread(), lane = thread % hw::WARP;
            const int first = thread / hw::WARP * QUERIES_OF_WARP;
            const uint16_t* from = s_of(tile, layer - 1) + part * (QUERIES * NP);
#pragma unroll
            for (int query = first; query < first + QUERIES_OF_WARP; ++query) {
                hw::copy16(layers.s.chunk(query, lane), from + query * NP + lane * CHUNK);
            }
        }
        if (layer < problem.layers) fetch_bias(problem.content_bias + (layer - 1) * NP, layer);
    }

    // Starts copying a layer's bias; that of the previous layer may still be in use.
    ARASFSR_DEVICE void fetch_bias(const float* from, int layer) const {
        constexpr int NUMBERS = CHUNK_BYTES / static_cast<int>(sizeof(float));
        const int first = Warpgroup::thread() * NUMBERS;
        if (first < NP) hw::copy16(bias(layer) + first, from + first);
    }

    ARASFSR_DEVICE float* bias(int layer) const {
        return reinterpret_cast<float*>(hw::shared() + Layout::biases) + (consumer * 2 + layer % 2) * NP;
    }

    ARASFSR_DEVICE float* output_weights() const { return reinterpret_cast<float*>(hw::shared() + Layout::output); }

    // Makes f and what has been copied visible to all.
    ARASFSR_DEVICE void receive() {
        hw::copy_commit();
        hw::copy_wait<0>();
        Warpgroup::publish();
    }

    // The same within a warp.
    ARASFSR_DEVICE void receive_in_warp() {
        hw::copy_commit();
        hw::copy_wait<0>();
        hw::warp_barrier();
    }

    // total = W_f f + W_p (f s). The operand f s of a panel is formed in registers while both products of the previous
    // panel run; two sets of registers are used in turn. When the warp has read its rows of s, it calls `meanwhile`,
    // also while products run.
    template <class Meanwhile>
    ARASFSR_DEVICE void multiply_modulated(Accumulators& total, const Meanwhile& meanwhile) {
        Product product(ring);
        uint32_t modulated[2][Product::STEPS][4];
#pragma unroll
        for (int panel = 0; panel < Stream::PANELS; ++panel) {
            product.template start<false>(total, f_here(), panel);
            if (panel == 0) modulate(modulated[0], 0);
            product.start(total, modulated[panel % 2], [&] {
                if (panel + 1 < Stream::PANELS) {
                    modulate(modulated[(panel + 1) % 2], panel + 1);
                } else {
                    hw::warp_barrier();
                    meanwhile();
                }
            });
        }
        product.finish(total);
    }

    // f, with its address computed again: otherwise the compiler keeps a descriptor for each of the sixteen steps in
    // registers.
    ARASFSR_DEVICE Rows f_here() const { return {hw::shared() + Layout::f + consumer_index() * Rows::BYTES}; }

    // f s of a panel, as the left operand in registers.
    ARASFSR_DEVICE void modulate(uint32_t (&result)[Product::STEPS][4], int panel) const {
        const int thread = Warpgroup::thread(), lane = thread % hw::WARP;
        const int row = thread / hw::WARP * 16 + lane % 16;
#pragma unroll
        for (int k = 0; k < Product::STEPS; ++k) {
            const int chunk = 2 * k + lane / 16;  // in the panel
            uint32_t factor[4];
            hw::load_matrices(result[k], layers.f.panel(panel).chunk(row, chunk));
            hw::load_matrices(factor, layers.s.chunk(row / CORNERS, chunk) + panel * (Stream::INPUTS * 2));
#pragma unroll
            for (int i = 0; i < 4; ++i) result[k][i] = hw::multiply_registers<T>(result[k][i], factor[i]);
        }
    }

    template <int PANELS>
    ARASFSR_DEVICE void multiply(Accumulators& total) {
        Product(ring).template multiply<PANELS, false>(total, f_here());
    }

    const ForwardArguments& call;
    const arasfsr_problem& problem;
    const int consumer;
    const Layers layers;
    StreamRing ring;
};

template <class T, Keeps KEEPS>
ARASFSR_KERNEL(STREAMING_THREADS, 1) forward90(const ARASFSR_PARAMETER ForwardArguments arguments) {
    Forward90<T, KEEPS>(arguments).run();
}

template <class T>
Kernel<ForwardArguments> Forward90Kernels<T>::find(bool keeps) {
    if (keeps) return streaming_kernel<Forward90<T, Keeps::ALWAYS>>(&forward90<T, Keeps::ALWAYS>);
    return streaming_kernel<Forward90<T, Keeps::NEVER>>(&forward90<T, Keeps::NEVER>);
}

}  // namespace arasfsr
#endif
