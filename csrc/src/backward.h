// Kernel: the backward of the content branch, over the activations that the forward kept.
//
// A block takes a part of the queries and all images that share them, so that the gradients of s are sums of its own.
// The gradient of a layer's result, before its ReLU, stays in shared memory from the last layer to the first.
#ifndef ARASFSR_BACKWARD_H
#define ARASFSR_BACKWARD_H

#include "shape.h"

namespace arasfsr {

struct BackwardArguments {
    arasfsr_problem problem;
    arasfsr_kept kept;
    arasfsr_gradients gradients;
};

template <class S>
class Backward {
    using T = typename S::Type;
    using WeightRing = Ring<S::NP, S::STAGES, Inner::OUTPUT>;
    static constexpr int NP = S::NP;

    struct Layout {  // of shared memory
        static constexpr int z = 0;
        static constexpr int ring = z + Tile<NP>::bytes(S::ROWS);
        static constexpr int end = ring + WeightRing::BYTES;
    };

  public:
    static constexpr int SHARED_BYTES = Layout::end;

    explicit ARASFSR_DEVICE Backward(const BackwardArguments& arguments)
        : problem(arguments.problem),
          kept(arguments.kept),
          gradients(arguments.gradients),
          z{hw::shared() + Layout::z},
          ring{hw::shared() + Layout::ring},
          start(hw::block() * S::QUERIES) {}

    ARASFSR_DEVICE void run() {
        const int layers = problem.layers;
        for (int which = 0; which < problem.images; ++which) {
            hw::barrier();  // the image before is done with z
            if (layers > 1) ring.open(weights(layers - 2, last_half()));
            output_layer(which);
            for (int layer = layers - 1;; --layer) {  // z is that of f[layer]
                hw::barrier();
                store_tile<S::ROWS, Block>(static_cast<uint16_t*>(gradients.z) + at(layer, which), z);
                if (layer == 0) break;
                content_layer(layer - 1, which);
            }
        }
    }

  private:
    ARASFSR_DEVICE int64_t padded() const { return kept.tiles * ARASFSR_TILE; }
    ARASFSR_DEVICE int64_t first_row(int which) const { return (which * padded() + start) * CORNERS; }

    // Where the part's rows start in a layer of f or z, and in one of s.
    ARASFSR_DEVICE int64_t at(int layer, int which) const {
        return (padded() * CORNERS * problem.images * layer + first_row(which)) * NP;
    }
    ARASFSR_DEVICE int64_t at_s(int layer) const { return (layer * padded() + start) * NP; }

    ARASFSR_DEVICE int last_half() const { return problem.modulated ? 1 : 0; }

    ARASFSR_DEVICE Weights weights(int layer, int half) const {
        const int halves = problem.modulated ? 2 : 1;
        return {static_cast<const uint16_t*>(problem.content_weight) + (layer * halves + half) * (NP * NP), NP,
                WeightRing::STEPS};
    }

    static ARASFSR_DEVICE uint32_t pair(const void* numbers, int64_t at) {
        return *reinterpret_cast<const uint32_t*>(static_cast<const uint16_t*>(numbers) + at);
    }

    // Stores two numbers for the first image, adds them for those after it, in order.
    static ARASFSR_DEVICE void accumulate(float* to, float x, float y, int which) {
        struct alignas(8) Two {
            float x, y;
        };
        Two& sum = *reinterpret_cast<Two*>(to);
        sum = which > 0 ? Two{sum.x + x, sum.y + y} : Two{x, y};
    }

    // Gradients of f_L before its ReLU, to z, of s_L and of the shares; `combined` gets s_L * sum of share f_L.
    ARASFSR_DEVICE void output_layer(int which) {
        constexpr int STEPS = NP / (2 * hw::WARP);
        const int last = problem.layers - 1, thread = hw::thread(), lane = thread % hw::WARP;
        for (int query = thread / hw::WARP; query < S::QUERIES; query += THREADS / hw::WARP) {
            const int64_t row = first_row(which) + query * CORNERS;
            const bool valid = start + query < kept.count;
            const float* pixel = gradients.grad + (which * problem.queries + kept.first + start + query) * 3;
            float rgb[3], share[CORNERS], of_share[CORNERS];
#pragma unroll
            for (int channel = 0; channel < 3; ++channel) rgb[channel] = valid ? pixel[channel] : 0.0f;
#pragma unroll
            for (int v = 0; v < CORNERS; ++v) {
                share[v] = kept.share[row + v];
                of_share[v] = 0.0f;
            }
#pragma unroll
            for (int i = 0; i < STEPS; ++i) {
                const int column = 2 * lane + i * (2 * hw::WARP);
                float x = 0.0f, y = 0.0f;  // the gradient of f_L * s_L
#pragma unroll
                for (int channel = 0; channel < 3; ++channel) {
                    x += rgb[channel] * problem.output_weight[channel * NP + column];
                    y += rgb[channel] * problem.output_weight[channel * NP + column + 1];
                }
                float f_x[CORNERS], f_y[CORNERS], ensemble_x = 0.0f, ensemble_y = 0.0f;
#pragma unroll
                for (int v = 0; v < CORNERS; ++v) {
                    const uint32_t f = pair(kept.f, at(last, which) + (query * CORNERS + v) * NP + column);
                    f_x[v] = hw::lower<T>(f);
                    f_y[v] = hw::upper<T>(f);
                    ensemble_x += f_x[v] * share[v];
                    ensemble_y += f_y[v] * share[v];
                }
                if (problem.modulated) {
                    const int64_t at_query = at_s(last) + query * NP + column;
                    accumulate(gradients.s + at_query, ensemble_x * x, ensemble_y * y, which);
                    const uint32_t s = pair(kept.s, at_query);
                    ensemble_x *= hw::lower<T>(s);
                    ensemble_y *= hw::upper<T>(s);
                    x *= hw::lower<T>(s);
                    y *= hw::upper<T>(s);
                }
                const int64_t of_query = (which * padded() + start + query) * NP + column;
                accumulate(gradients.combined + of_query, ensemble_x, ensemble_y, 0);
#pragma unroll
                for (int v = 0; v < CORNERS; ++v) {
                    of_share[v] += x * f_x[v] + y * f_y[v];
                    z.pair(query * CORNERS + v, column) =
                        hw::pack<T>(f_x[v] > 0.0f ? x * share[v] : 0.0f, f_y[v] > 0.0f ? y * share[v] : 0.0f);
                }
            }
            if (gradients.share == nullptr) continue;
#pragma unroll
            for (int v = 0; v < CORNERS; ++v) {
                const float sum = hw::warp_sum(of_share[v]);
                if (lane == 0) gradients.share[row + v] = sum;
            }
        }
    }

    // From the gradient above hidden layer `layer`, before its ReLU, to the one below, before that one's ReLU; and to
    // s. Both in z. The product f * s comes first: its gradient times s is where the sum for f starts.
    ARASFSR_DEVICE void content_layer(int layer, int which) {
        Total<S::ROWS, NP> total;
        total.clear();
        if (problem.modulated) {
            multiply<T>(total, z, ring, weights(layer, 1), z);
            hw::barrier();
            ring.open(weights(layer, 0));
            through_product(total, layer, which);
        }
        multiply<T>(total, z, ring, weights(layer, 0), z);
        hw::barrier();
        if (layer > 0) ring.open(weights(layer - 1, last_half()));
        const int64_t first = at(layer, which);
        total.each_pair([&](int row, int column, float& x, float& y) {
            const uint32_t f = pair(kept.f, first + row * NP + column);
            z.pair(row, column) =
                hw::pack<T>(hw::lower<T>(f) > 0.0f ? x : 0.0f, hw::upper<T>(f) > 0.0f ? y : 0.0f);
        });
    }

    // From the gradient of f * s to that of s, summed over corners, and, in its place, to what reaches f.
    ARASFSR_DEVICE void through_product(Total<S::ROWS, NP>& total, int layer, int which) {
        const int64_t first = at(layer, which), first_s = at_s(layer);
        total.each_pair([&](int row, int column, float& x, float& y) {
            const uint32_t f = pair(kept.f, first + row * NP + column);
            float of_s_x = x * hw::lower<T>(f), of_s_y = y * hw::upper<T>(f);
            for (int mask = 4; mask <= 8; mask *= 2) {  // four rows apart by one are four lanes apart by four
                of_s_x += hw::shuffle_xor(of_s_x, mask);
                of_s_y += hw::shuffle_xor(of_s_y, mask);
            }
            const int64_t at_query = first_s + row / CORNERS * NP + column;
            if (row % CORNERS == 0) accumulate(gradients.s + at_query, of_s_x, of_s_y, which);
            const uint32_t s = pair(kept.s, at_query);
            x *= hw::lower<T>(s);
            y *= hw::upper<T>(s);
        });
    }

    const arasfsr_problem& problem;
    const arasfsr_kept& kept;
    const arasfsr_gradients& gradients;
    const Tile<NP> z;
    const WeightRing ring;
    const int64_t start;  // the part's first query of the chunk
};

template <class S>
ARASFSR_KERNEL(THREADS, S::BLOCKS) backward(const ARASFSR_PARAMETER BackwardArguments arguments) {
    Backward<S>(arguments).run();
}

}  // namespace arasfsr
#endif
