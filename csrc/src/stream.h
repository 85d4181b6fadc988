// All weights as one stream of stages, each of them 256 outputs x 64 inputs in the order that wgmma reads: a block's
// shared memory holds what global memory does, so that a stage is a plain bulk copy.
#ifndef ARASFSR_STREAM_H
#define ARASFSR_STREAM_H

#include "launch.h"
#include "tile.h"

namespace arasfsr {

// The stages in the order in which they are used: those of the coordinate branch, once a tile, then those of the
// content branch, once a part. A layer's panel of 64 inputs comes as the stage of f and, with modulation, that of f s.
struct Stream {
    static constexpr int OUTPUTS = 256, INPUTS = 64;
    static constexpr int PANELS = OUTPUTS / INPUTS;  // of a square matrix
    static constexpr int STAGE_BYTES = OUTPUTS * INPUTS * 2;
    using Stage = Tile<INPUTS>;
    static_assert(ARASFSR_ENCODING == INPUTS, "the first layer of the coordinate branch is one stage");

    int hidden, halves;  // layers above the first, products of each in the content branch

    static ARASFSR_HOST_DEVICE Stream of(const arasfsr_problem& problem) {
        return {problem.layers - 1, problem.modulated ? 2 : 1};
    }

    ARASFSR_HOST_DEVICE int coordinate_stages() const { return halves == 2 ? 1 + hidden * PANELS : 0; }
    ARASFSR_HOST_DEVICE int content_stages() const { return hidden * PANELS * halves; }
    ARASFSR_HOST_DEVICE int stages() const { return coordinate_stages() + content_stages(); }
    ARASFSR_HOST_DEVICE int64_t bytes() const { return static_cast<int64_t>(stages()) * STAGE_BYTES; }

    // Where a stage's first number lies, and how far it is to the next output's and the next input's.
    struct Source {
        const uint16_t* first;
        int output, input;
    };

    ARASFSR_DEVICE Source source(const arasfsr_problem& problem, int stage) const {
        const int content = stage - coordinate_stages();
        if (content >= 0) {
            const int half = content % halves, panel = content / halves % PANELS, layer = content / halves / PANELS;
            return square(problem.content_weight, layer * halves + half, panel);
        }
        if (stage == 0) return {static_cast<const uint16_t*>(problem.encoding_weight), ARASFSR_ENCODING, 1};
        return square(problem.modulator_weight, (stage - 1) / PANELS, (stage - 1) % PANELS);
    }

    // A panel of outputs of one of several square matrices, as inputs.
    static ARASFSR_DEVICE Source transposed(const void* matrices, int number, int panel) {
        const uint16_t* first = static_cast<const uint16_t*>(matrices) + number * (OUTPUTS * OUTPUTS);
        return {first + panel * (INPUTS * OUTPUTS), 1, OUTPUTS};
    }

  private:
    static ARASFSR_DEVICE Source square(const void* matrices, int number, int panel) {
        return {static_cast<const uint16_t*>(matrices) + number * (OUTPUTS * OUTPUTS) + panel * INPUTS, OUTPUTS, 1};
    }
};

// Likewise for the backward of the content branch, once a part and image: from the last layer to the first, the matrix
// of f s before that of f. What is an input there is an output of the layer.
struct BackwardStream {
    int hidden, halves;

    static ARASFSR_HOST_DEVICE BackwardStream of(const arasfsr_problem& problem) {
        return {problem.layers - 1, problem.modulated ? 2 : 1};
    }

    ARASFSR_HOST_DEVICE int stages() const { return hidden * halves * Stream::PANELS; }
    ARASFSR_HOST_DEVICE int64_t bytes() const { return static_cast<int64_t>(stages()) * Stream::STAGE_BYTES; }

    ARASFSR_DEVICE Stream::Source source(const arasfsr_problem& problem, int stage) const {
        const int matrix = hidden * halves - 1 - stage / Stream::PANELS;
        return Stream::transposed(problem.content_weight, matrix, stage % Stream::PANELS);
    }
};

// Likewise for the backward of the coordinate branch, once a tile.
struct CoordinateStream {
    int hidden;

    static ARASFSR_HOST_DEVICE CoordinateStream of(const arasfsr_problem& problem) { return {problem.layers - 1}; }

    ARASFSR_HOST_DEVICE int stages() const { return hidden * Stream::PANELS; }
    ARASFSR_HOST_DEVICE int64_t bytes() const { return static_cast<int64_t>(stages()) * Stream::STAGE_BYTES; }

    ARASFSR_DEVICE Stream::Source source(const arasfsr_problem& problem, int stage) const {
        const int matrix = hidden - 1 - stage / Stream::PANELS;
        return Stream::transposed(problem.modulator_weight, matrix, stage % Stream::PANELS);
    }
};

// Launches the kernel that brings a problem's weights into a stream's order.
template <class S>
arasfsr_status order_stream(const arasfsr_problem& problem, unsigned char* to);

}  // namespace arasfsr
#endif
