// The backward of the content branch but for its products: what a crew of threads does to a part's content rows.
//
// A part is taken with all images that share its queries, so that the gradients of s are sums of its own. The gradient
// of a layer's result, before its ReLU, stays in shared memory from the last layer to the first.
#ifndef ARASFSR_DECODER_BACKWARD_H
#define ARASFSR_DECODER_BACKWARD_H

#include "geometry.h"
#include "tile.h"

namespace arasfsr {

struct BackwardArguments {
    arasfsr_problem problem;
    arasfsr_kept kept;
    arasfsr_gradients gradients;
    const unsigned char* stream;  // the weights as stream.h orders them, for a kernel that takes them so
};

// Of type T, NP wide, of ROWS content rows, held by Z in shared memory. `start` is a part's first query of the chunk.
template <class T, int NP, int ROWS, class Crew, class Z>
class DecoderBackward {
  public:
    using Number = typename hw::Format<T>::Number;
    using Pair = hw::Pair<T>;
    static constexpr int QUERIES = ROWS / CORNERS;

    ARASFSR_DEVICE DecoderBackward(const BackwardArguments& arguments, unsigned char* z)
        : z{z}, problem(arguments.problem), kept(arguments.kept), gradients(arguments.gradients) {}

    // Gradients of f_L before its ReLU, to z, of s_L and of the shares; `combined` gets s_L * sum of share f_L. What it
    // reads is had from `top`.
    template <class Top>
    ARASFSR_DEVICE void output_layer(int64_t start, int which, const Top& top) const {
        constexpr int STEPS = NP / (2 * hw::WARP);
        const int last = problem.layers - 1, thread = Crew::thread(), lane = thread % hw::WARP;
        for (int query = thread / hw::WARP; query < QUERIES; query += Crew::THREADS / hw::WARP) {
            const int64_t row = first_row(start, which) + query * CORNERS;
            Pair f[STEPS][CORNERS], s[STEPS];  // all loads begin together
#pragma unroll
            for (int i = 0; i < STEPS; ++i) {
                const int column = 2 * lane + i * (2 * hw::WARP);
                if (problem.modulated) s[i] = top.s(query, column);
#pragma unroll
                for (int v = 0; v < CORNERS; ++v) f[i][v] = top.f(query * CORNERS + v, column);
            }
            float rgb[3], share[CORNERS], of_share[CORNERS];
#pragma unroll
            for (int channel = 0; channel < 3; ++channel) rgb[channel] = top.pixel(query, channel);
#pragma unroll
            for (int v = 0; v < CORNERS; ++v) {
                share[v] = top.share(query * CORNERS + v);
                of_share[v] = 0.0f;
            }
#pragma unroll
            for (int i = 0; i < STEPS; ++i) {
                const int column = 2 * lane + i * (2 * hw::WARP);
                float x = 0.0f, y = 0.0f;  // the gradient of f_L * s_L
#pragma unroll
                for (int channel = 0; channel < 3; ++channel) {
                    const hw::Two weight = top.weight(channel, column);
                    x += rgb[channel] * weight.x;
                    y += rgb[channel] * weight.y;
                }
                float f_x[CORNERS], f_y[CORNERS], ensemble_x = 0.0f, ensemble_y = 0.0f;
#pragma unroll
                for (int v = 0; v < CORNERS; ++v) {
                    f_x[v] = hw::lower<T>(f[i][v]);
                    f_y[v] = hw::upper<T>(f[i][v]);
                    ensemble_x += f_x[v] * share[v];
                    ensemble_y += f_y[v] * share[v];
                }
                if (problem.modulated) {
                    const int64_t at_query = at_s(last, start) + query * NP + column;
                    accumulate(gradients.s + at_query, ensemble_x * x, ensemble_y * y, which);
                    ensemble_x *= hw::lower<T>(s[i]);
                    ensemble_y *= hw::upper<T>(s[i]);
                    x *= hw::lower<T>(s[i]);
                    y *= hw::upper<T>(s[i]);
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

    // What the output layer of a part reads, where it is kept.
    class Top {
      public:
        ARASFSR_DEVICE Top(const DecoderBackward& layers, int64_t start, int which)
            : layers(layers), start(start), which(which) {}

        ARASFSR_DEVICE Pair f(int row, int column) const {
            return ahead(layers.kept.f, layers.at(last(), start, which) + row * NP + column);
        }
        ARASFSR_DEVICE Pair s(int query, int column) const {
            return ahead(layers.kept.s, layers.at_s(last(), start) + query * NP + column);
        }
        ARASFSR_DEVICE float pixel(int query, int channel) const {
            return layers.pixel(start, which, query * 3 + channel);
        }
        ARASFSR_DEVICE float share(int row) const { return layers.kept.share[layers.first_row(start, which) + row]; }
        ARASFSR_DEVICE hw::Two weight(int channel, int column) const {
            return hw::load_constant(layers.problem.output_weight + channel * NP + column);
        }

      private:
        ARASFSR_DEVICE int last() const { return layers.problem.layers - 1; }

        // Other reads need not wait for it.
        static ARASFSR_DEVICE Pair ahead(const void* numbers, int64_t at) {
            return hw::load_constant(static_cast<const Number*>(numbers) + at);
        }

        const DecoderBackward& layers;
        const int64_t start;
        const int which;
    };

    // One of the gradient's numbers, three a query, from the part's first on; zero where there is no query.
    ARASFSR_DEVICE float pixel(int64_t start, int which, int number) const {
        if (start + number / 3 >= kept.count) return 0.0f;
        return gradients.grad[(which * problem.queries + kept.first + start) * 3 + number];
    }

    // From the gradient of f * s to that of s, summed over corners, and, in its place, to what reaches f.
    template <class Sum>
    ARASFSR_DEVICE void through_product(Sum& total, int64_t start, int which, int layer) const {
        const int64_t first = at(layer, start, which), first_s = at_s(layer, start);
        total.each_pair([&](int row, int column, float& x, float& y) {
            const Pair f = pair(kept.f, first + row * NP + column);
            float of_s_x = x * hw::lower<T>(f), of_s_y = y * hw::upper<T>(f);
            for (int mask = 4; mask <= 8; mask *= 2) {  // four rows apart by one are four lanes apart by four
                of_s_x += hw::shuffle_xor(of_s_x, mask);
                of_s_y += hw::shuffle_xor(of_s_y, mask);
            }
            const int64_t at_query = first_s + row / CORNERS * NP + column;
            if (row % CORNERS == 0) accumulate(gradients.s + at_query, of_s_x, of_s_y, which);
            const Pair s = pair(kept.s, at_query);
            x *= hw::lower<T>(s);
            y *= hw::upper<T>(s);
        });
    }

    // From the gradient of f[layer] to that before its ReLU, in z.
    template <class Sum>
    ARASFSR_DEVICE void hidden_layer(Sum& total, int64_t start, int which, int layer) const {
        const int64_t first = at(layer, start, which);
        total.each_pair([&](int row, int column, float& x, float& y) {
            const Pair f = pair(kept.f, first + row * NP + column);
            z.pair(row, column) =
                hw::pack<T>(hw::lower<T>(f) > 0.0f ? x : 0.0f, hw::upper<T>(f) > 0.0f ? y : 0.0f);
        });
    }

    // z, which is that of f[layer].
    ARASFSR_DEVICE void store(int64_t start, int which, int layer) const {
        store_tile<ROWS, Crew>(static_cast<Number*>(gradients.z) + at(layer, start, which), z);
    }

    // Where the part's rows start in a layer of f or z, and in one of s.
    ARASFSR_DEVICE int64_t at(int layer, int64_t start, int which) const {
        return (padded() * CORNERS * problem.images * layer + first_row(start, which)) * NP;
    }
    ARASFSR_DEVICE int64_t at_s(int layer, int64_t start) const { return (layer * padded() + start) * NP; }
    ARASFSR_DEVICE int64_t first_row(int64_t start, int which) const { return (which * padded() + start) * CORNERS; }

    const Z z;

  private:
    ARASFSR_DEVICE int64_t padded() const { return kept.tiles * ARASFSR_TILE; }

    static ARASFSR_DEVICE Pair pair(const void* numbers, int64_t at) {
        return *reinterpret_cast<const Pair*>(static_cast<const Number*>(numbers) + at);
    }

    // Stores two numbers for the first image, adds them for those after it, in order.
    static ARASFSR_DEVICE void accumulate(float* to, float x, float y, int which) {
        hw::Two& sum = *reinterpret_cast<hw::Two*>(to);
        sum = which > 0 ? hw::Two{sum.x + x, sum.y + y} : hw::Two{x, y};
    }

    const arasfsr_problem& problem;
    const arasfsr_kept& kept;
    const arasfsr_gradients& gradients;
};

}  // namespace arasfsr
#endif
