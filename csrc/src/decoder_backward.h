// The backward of the content branch except for its products: what a crew of threads does for the content rows of a
// part.
//
// A crew processes a part for all images that share its queries, so that no other crew adds to the part's gradients of
// s. The gradient of z, a layer's output before the activation, stays in shared memory from the last layer to the
// first.
#ifndef ARASFSR_DECODER_BACKWARD_H
#define ARASFSR_DECODER_BACKWARD_H

#include "activation.h"
#include "geometry.h"
#include "tile.h"

namespace arasfsr {

struct BackwardArguments {
    arasfsr_problem problem;
    arasfsr_kept kept;
    arasfsr_gradients gradients;
    const unsigned char* stream;  // the weights in the order of stream.h, for kernels that stream them
};

// Gradients of type T of ROWS content rows, NP wide, held by Z in shared memory. `start` is the first query of a part,
// counted in the chunk.
template <class T, int NP, int ROWS, class Crew, class Z>
class DecoderBackward {
  public:
    using Number = typename hw::Format<T>::Number;
    using Pair = hw::Pair<T>;
    static constexpr int QUERIES = ROWS / CORNERS;

    ARASFSR_DEVICE DecoderBackward(const BackwardArguments& arguments, unsigned char* z)
        : z{z}, problem(arguments.problem), kept(arguments.kept), gradients(arguments.gradients) {}

    // Gradients of z_L, to z, of s_L and of the shares; `combined` gets s_L * sum of share f_L. `top` provides the
    // inputs.
    template <class Top>
    ARASFSR_DEVICE void output_layer(int64_t start, int image_index, const Top& top) const {
        constexpr int STEPS = NP / (2 * hw::WARP);
        const int last = problem.layers - 1, thread = Crew::thread(), lane = thread % hw::WARP;
        for (int query = thread / hw::WARP; query < QUERIES; query += Crew::THREADS / hw::WARP) {
            const int64_t row = first_row(start, image_index) + query * CORNERS;
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
                    accumulate(gradients.s + at_query, ensemble_x * x, ensemble_y * y, image_index);
                    ensemble_x *= hw::lower<T>(s[i]);
                    ensemble_y *= hw::upper<T>(s[i]);
                    x *= hw::lower<T>(s[i]);
                    y *= hw::upper<T>(s[i]);
                }
                const int64_t of_query = (image_index * padded_queries() + start + query) * NP + column;
                accumulate(gradients.combined + of_query, ensemble_x, ensemble_y, 0);
#pragma unroll
                for (int v = 0; v < CORNERS; ++v) {
                    of_share[v] += x * f_x[v] + y * f_y[v];
                    z.pair(query * CORNERS + v, column) = hw::pack<T>(
                        activation_backward(f_x[v], x * share[v]), activation_backward(f_y[v], y * share[v]));
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

    // The inputs of output_layer, read from global memory.
    class Top {
      public:
        ARASFSR_DEVICE Top(const DecoderBackward& layers, int64_t start, int image_index)
            : layers(layers), start(start), image_index(image_index) {}

        ARASFSR_DEVICE Pair f(int row, int column) const {
            return ahead(layers.kept.f, layers.at(last(), start, image_index) + row * NP + column);
        }
        ARASFSR_DEVICE Pair s(int query, int column) const {
            return ahead(layers.kept.s, layers.at_s(last(), start) + query * NP + column);
        }
        ARASFSR_DEVICE float pixel(int query, int channel) const {
            return layers.pixel(start, image_index, query * 3 + channel);
        }
        ARASFSR_DEVICE float share(int row) const {
            return layers.kept.share[layers.first_row(start, image_index) + row];
        }
        ARASFSR_DEVICE hw::Two weight(int channel, int column) const {
            return hw::load_constant(layers.problem.output_weight + channel * NP + column);
        }

      private:
        ARASFSR_DEVICE int last() const { return layers.problem.layers - 1; }

        // May be read ahead of other accesses.
        static ARASFSR_DEVICE Pair ahead(const void* numbers, int64_t at) {
            return hw::load_constant(static_cast<const Number*>(numbers) + at);
        }

        const DecoderBackward& layers;
        const int64_t start;
        const int image_index;
    };

    // An element of the output's gradient, three for each query from the part's first on; zero in the padding.
    ARASFSR_DEVICE float pixel(int64_t start, int image_index, int index) const {
        if (start + index / 3 >= kept.count) return 0.0f;
        return gradients.grad[(image_index * problem.queries + kept.first + start) * 3 + index];
    }

    // From the gradient of f * s to that of s, summed over corners, and in place to its contribution to that of f.
    template <class Sum>
    ARASFSR_DEVICE void through_product(Sum& total, int64_t start, int image_index, int layer) const {
        const int64_t first = at(layer, start, image_index), first_s = at_s(layer, start);
        total.each_pair([&](int row, int column, float& x, float& y) {
            const Pair f = pair(kept.f, first + row * NP + column);
            float of_s_x = x * hw::lower<T>(f), of_s_y = y * hw::upper<T>(f);
            for (int mask = 4; mask <= 8; mask *= 2) {  // four rows apart by one are four lanes apart by four
                of_s_x += hw::shuffle_xor(of_s_x, mask);
                of_s_y += hw::shuffle_xor(of_s_y, mask);
            }
            const int64_t at_query = first_s + row / CORNERS * NP + column;
            if (row % CORNERS == 0) accumulate(gradients.s + at_query, of_s_x, of_s_y, image_index);
            const Pair s = pair(kept.s, at_query);
            x *= hw::lower<T>(s);
            y *= hw::upper<T>(s);
        });
    }

    // From the gradient of f[layer] to that of its z.
    template <class Sum>
    ARASFSR_DEVICE void hidden_layer(Sum& total, int64_t start, int image_index, int layer) const {
        const int64_t first = at(layer, start, image_index);
        total.each_pair([&](int row, int column, float& x, float& y) {
            const Pair f = pair(kept.f, first + row * NP + column);
            z.pair(row, column) = hw::pack<T>(
                activation_backward(hw::lower<T>(f), x), activation_backward(hw::upper<T>(f), y));
        });
    }

    // Stores z, the gradient of f[layer] before its activation.
    ARASFSR_DEVICE void store(int64_t start, int image_index, int layer) const {
        store_tile<ROWS, Crew>(static_cast<Number*>(gradients.z) + at(layer, start, image_index), z);
    }

    // The offset of the part's first row in a layer of f or z, and in one of s.
    ARASFSR_DEVICE int64_t at(int layer, int64_t start, int image_index) const {
        return (padded_queries() * CORNERS * problem.images * layer + first_row(start, image_index)) * NP;
    }
    ARASFSR_DEVICE int64_t at_s(int layer, int64_t start) const { return (layer * padded_queries() + start) * NP; }
    ARASFSR_DEVICE int64_t first_row(int64_t start, int image_index) const {
        return (image_index * padded_queries() + start) * CORNERS;
    }

    const Z z;

  private:
    ARASFSR_DEVICE int64_t padded_queries() const { return kept.tiles * ARASFSR_TILE; }

    static ARASFSR_DEVICE Pair pair(const void* numbers, int64_t at) {
        return *reinterpret_cast<const Pair*>(static_cast<const Number*>(numbers) + at);
    }

    // Stores a pair for the first image and adds it for the later ones, in order.
    static ARASFSR_DEVICE void accumulate(float* to, float x, float y, int image_index) {
        hw::Two& sum = *reinterpret_cast<hw::Two*>(to);
        sum = image_index > 0 ? hw::Two{sum.x + x, sum.y + y} : hw::Two{x, y};
    }

    const arasfsr_problem& problem;
    const arasfsr_kept& kept;
    const arasfsr_gradients& gradients;
};

}  // namespace arasfsr
#endif
