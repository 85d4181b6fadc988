// All weights as one stream of stages of 256 outputs x 64 inputs, in the order in which wgmma reads them: global and
// shared memory have the same layout, so that a stage is one bulk copy.
#ifndef ARASFSR_STREAM_H
#define ARASFSR_STREAM_H

#include "launch.h"
#include "tile.h"

namespace arasfsr {

// The stages in the order in which they are used: those of the coordinate branch, once per tile, then those of the
// content branch, once per part. Each 64 inputs of a layer are a stage for f and, with modulation, another for f s.
struct Stream {
    static constexpr int OUTPUTS = 256, INPUTS = 64;
    static constexpr int PANELS = OUTPUTS / INPUTS;  // of a square matrix
    static constexpr int STAGE_BYTES = OUTPUTS * INPUTS * 2;
    using Stage = Tile<INPUTS>;
    static_assert(ARASFSR_ENCODING == INPUTS, "the first layer of the coordinate branch must be one stage");

    int hidden, halves;  // layers after the first, and products of each in the content branch

    static ARASFSR_HOST_DEVICE Stream of(const arasfsr_problem& problem) {
        return {problem.layers - 1, problem.modulated ? 2 : 1};
    }

    ARASFSR_HOST_DEVICE int coordinate_stages() const { return halves == 2 ? 1 + hidden * PANELS : 0; }
    ARASFSR_HOST_DEVICE int content_stages() const { return hidden * PANELS * halves; }
    ARASFSR_HOST_DEVICE int stages() const { return coordinate_stages() + content_stages(); }
    ARASFSR_HOST_DEVICE int64_t bytes() const { return static_cast<int64_t>(stages()) * STAGE_BYTES; }

    // A stage's first number, and the strides of outputs and inputs.
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

    // A stage of the transpose of one of several square matrices.
    static ARASFSR_DEVICE Source transposed(const void* matrices, int index, int panel) {
        const uint16_t* first = static_cast<const uint16_t*>(matrices) + index * (OUTPUTS * OUTPUTS);
        return {first + panel * (INPUTS * OUTPUTS), 1, OUTPUTS};
    }

  private:
    static ARASFSR_DEVICE Source square(const void* matrices, int index, int panel) {
        return {static_cast<const uint16_t*>(matrices) + index * (OUTPUTS * OUTPUTS) + panel * INPUTS, OUTPUTS, 1};
    }
};

// The same for the backward of the content branch, once per part and image: from the last layer to the first, the
// matrix of f s before that of f, each transposed.
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

// The same for the backward of the coordinate branch, once per tile.
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

// Launches the kernel that copies a problem's weights into the order of the stream S.
template <class S>
arasfsr_status order_stream(const arasfsr_problem& problem, unsigned char* to);

}  // namespace arasfsr
#endif
