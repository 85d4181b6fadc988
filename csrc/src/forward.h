// Kernel: from the LR map G to the output, or to the activations of every layer, kept for the backward.
//
// A block processes one tile of 64 queries after another. It computes the coordinate branch of a tile, s_1 .. s_L, to
// global memory that stays in the L2 cache; then, for every image and part of the tile, the content branch. The f of a
// part stays in shared memory from the first layer to the last: registers hold the whole result of a layer before it
// overwrites the layer's input.
#ifndef ARASFSR_FORWARD_H
#define ARASFSR_FORWARD_H

#include "decoder.h"
#include "kernels.h"
#include "shape.h"

namespace arasfsr {

template <class S>
class Forward {
    using T = typename S::Type;
    using Number = typename hw::Format<T>::Number;
    static constexpr int NP = S::NP;
    using Activations = Tile<NP, Number>;
    using WeightRing = Ring<Number, NP, S::STAGES, Inner::INPUT>;
    using Layers = Decoder<T, NP, S::ROWS, Block, Activations>;

    struct Layout {  // of shared memory
        static constexpr int f = 0;
        static constexpr int s = f + Activations::bytes(S::ROWS);
        static constexpr int ring = s + Activations::bytes(S::QUERIES);
        static constexpr int rows = ring + WeightRing::BYTES;
        static constexpr int skips = rows + Layers::ROWS_BYTES;
        static constexpr int end = skips + Layers::SKIPS_BYTES;
    };

  public:
    static constexpr int SHARED_BYTES = Layout::end;

    explicit ARASFSR_DEVICE Forward(const ForwardArguments& arguments)
        : problem(arguments.problem),
          kept(arguments.kept),
          layers(arguments, hw::shared() + Layout::f, hw::shared() + Layout::s, hw::shared() + Layout::rows,
                 hw::shared() + Layout::skips),
          ring{hw::shared() + Layout::ring} {}

    ARASFSR_DEVICE void run() {
        for (int64_t tile = hw::block(); tile < kept.tiles; tile += hw::blocks()) {
            if (problem.modulated) coordinate_branch(tile);
            for (int image_index = 0; image_index < problem.images; ++image_index) {
                for (int part = 0; part < S::PARTS; ++part) content_branch(tile, image_index, part);
            }
        }
    }

  private:
    ARASFSR_DEVICE void coordinate_branch(int64_t tile) {
        Weights<Number> weights{static_cast<const Number*>(problem.encoding_weight), ARASFSR_ENCODING,
                                ARASFSR_ENCODING / WeightRing::DEPTH};
        hw::barrier();  // the previous tile no longer needs f and the ring
        ring.open(weights);
        layers.encode(tile);
        for (int layer = 0; layer < problem.layers; ++layer) {
            Total<ARASFSR_TILE, NP> total;
            total.clear();
            multiply<T>(total, layers.f, ring, weights, layers.s);
            hw::barrier();
            if (layer + 1 < problem.layers) {
                weights = {static_cast<const Number*>(problem.modulator_weight) + layer * (NP * NP), NP,
                           WeightRing::STEPS};
                ring.open(weights);
            }
            layers.modulation(
                total, InGlobal{problem.modulator_bias + layer * NP}, layers.cosines_of(tile, layer));
            hw::barrier();
            store_tile<ARASFSR_TILE, Block>(layers.s_of(hw::block(), tile, layer), layers.f);
        }
    }

    ARASFSR_DEVICE void content_branch(int64_t tile, int image_index, int part) {
        const int64_t start = tile * ARASFSR_TILE + part * S::QUERIES;
        hw::barrier();  // shared memory is free, and s visible to all
        prefetch(tile, part, 1);
        layers.find_rows(start, image_index);
        if (!layers.keeps()) layers.find_skip(start, image_index);
        hw::barrier();
        layers.first_layer();
        for (int layer = 1;; ++layer) {  // f holds f_layer
            if (layers.keeps()) {
                hw::barrier();
                layers.keep_f(start, image_index, layer);
            }
            if (layer == problem.layers) break;
            content_layer(tile, part, layer);
        }
        if (layers.keeps()) return;
        hw::copy_wait<0>();
        hw::barrier();  // f_L and s_L are visible to all
        layers.output_layer(start, image_index, InGlobal{problem.output_weight});
    }

    // Starts copying the other inputs of the layer after f_layer: the part's s_layer and the weights.
    ARASFSR_DEVICE void prefetch(int64_t tile, int part, int layer) {
        const bool hidden = layer < problem.layers;
        if (problem.modulated && (hidden || !layers.keeps())) {
            const Number* from = layers.s_of(hw::block(), tile, layer - 1) + part * (S::QUERIES * NP);
            fetch_tile<S::QUERIES, Block>(layers.s, from);
        }
        if (hidden) {
            ring.open(content_weights(layer));
        } else {
            hw::copy_commit();
        }
    }

    ARASFSR_DEVICE Weights<Number> content_weights(int layer) const {
        const int halves = problem.modulated ? 2 : 1;
        return {static_cast<const Number*>(problem.content_weight) + (layer - 1) * halves * (NP * NP), NP,
                halves * WeightRing::STEPS};
    }

    // f_{layer + 1} = activation(W_f f + W_p (f * s) + bias), which replaces f = f_layer.
    ARASFSR_DEVICE void content_layer(int64_t tile, int part, int layer) {
        Total<S::ROWS, NP> total;
        total.clear();
        multiply<T>(total, layers.f, ring, content_weights(layer), layers.s);
#ifndef ARASFSR_TEST_MISSING_BARRIER
        hw::barrier();  // all threads have read f, s and the ring
#endif
        prefetch(tile, part, layer + 1);
        layers.hidden_layer(total, InGlobal{problem.content_bias + (layer - 1) * NP});
    }

    const arasfsr_problem& problem;
    const arasfsr_kept& kept;
    const Layers layers;
    const WeightRing ring;
};

template <class S>
ARASFSR_KERNEL(THREADS, S::BLOCKS) forward(const ARASFSR_PARAMETER ForwardArguments arguments) {
    Forward<S>(arguments).run();
}

template <class T>
Kernel<ForwardArguments> ForwardKernels<T>::find(int padded, int shared_limit) {
    return choose<Forward, T, ForwardArguments>(padded, shared_limit, [](auto shape) {
        return kernel_of<Forward, decltype(shape)>(&forward<decltype(shape)>);
    });
}

}  // namespace arasfsr
#endif
