// Kernel: the backward of the content branch, over the activations that the forward kept. A block processes a part.
#ifndef ARASFSR_BACKWARD_H
#define ARASFSR_BACKWARD_H

#include "decoder_backward.h"
#include "kernels.h"
#include "shape.h"

namespace arasfsr {

template <class S>
class Backward {
    using T = typename S::Type;
    using Number = typename hw::Format<T>::Number;
    static constexpr int NP = S::NP;
    using Gradients = Tile<NP, Number>;
    using WeightRing = Ring<Number, NP, S::STAGES, Inner::OUTPUT>;
    using Layers = DecoderBackward<T, NP, S::ROWS, Block, Gradients>;

    struct Layout {  // of shared memory
        static constexpr int z = 0;
        static constexpr int ring = z + Gradients::bytes(S::ROWS);
        static constexpr int end = ring + WeightRing::BYTES;
    };

  public:
    static constexpr int SHARED_BYTES = Layout::end;

    explicit ARASFSR_DEVICE Backward(const BackwardArguments& arguments)
        : problem(arguments.problem),
          layers(arguments, hw::shared() + Layout::z),
          ring{hw::shared() + Layout::ring},
          start(hw::block() * S::QUERIES) {}

    ARASFSR_DEVICE void run() {
        const int last = problem.layers - 1;
        for (int image_index = 0; image_index < problem.images; ++image_index) {
            hw::barrier();  // the previous image no longer needs z
            if (last > 0) ring.open(weights(last - 1, last_half()));
            layers.output_layer(start, image_index, typename Layers::Top(layers, start, image_index));
            for (int layer = last;; --layer) {  // z holds the gradient of f[layer] before the activation
                hw::barrier();
                layers.store(start, image_index, layer);
                if (layer == 0) break;
                content_layer(layer - 1, image_index);
            }
        }
    }

  private:
    ARASFSR_DEVICE int last_half() const { return problem.modulated ? 1 : 0; }

    ARASFSR_DEVICE Weights<Number> weights(int layer, int half) const {
        const int halves = problem.modulated ? 2 : 1;
        return {static_cast<const Number*>(problem.content_weight) + (layer * halves + half) * (NP * NP), NP,
                WeightRing::STEPS};
    }

    // From the gradient of the z above hidden layer `layer` to that of the z below it, in place, and to that of s. The
    // product with the weights of f * s comes first: its result times s initializes the sum for f.
    ARASFSR_DEVICE void content_layer(int layer, int image_index) {
        Total<S::ROWS, NP> total;
        total.clear();
        if (problem.modulated) {
            multiply<T>(total, layers.z, ring, weights(layer, 1), layers.z);
            hw::barrier();
            ring.open(weights(layer, 0));
            layers.through_product(total, start, image_index, layer);
        }
        multiply<T>(total, layers.z, ring, weights(layer, 0), layers.z);
        hw::barrier();
        if (layer > 0) ring.open(weights(layer - 1, last_half()));
        layers.hidden_layer(total, start, image_index, layer);
    }

    const arasfsr_problem& problem;
    const Layers layers;
    const WeightRing ring;
    const int64_t start;  // the part's first query, counted in the chunk
};

template <class S>
ARASFSR_KERNEL(THREADS, S::BLOCKS) backward(const ARASFSR_PARAMETER BackwardArguments arguments) {
    Backward<S>(arguments).run();
}

template <class T>
Kernel<BackwardArguments> BackwardKernels<T>::find(int padded, int shared_limit) {
    return choose<Backward, T, BackwardArguments>(padded, shared_limit, [](auto shape) {
        return kernel_of<Backward, decltype(shape)>(&backward<decltype(shape)>);
    });
}

}  // namespace arasfsr
#endif
