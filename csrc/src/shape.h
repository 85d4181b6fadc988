// The sizes that kernels are compiled for.
#ifndef ARASFSR_SHAPE_H
#define ARASFSR_SHAPE_H

#include "geometry.h"
#include "product.h"

namespace arasfsr {

// Activations of type T, NP wide; a part is ROWS content rows: ROWS / 4 queries with their four corners. Registers are
// limited so that BLOCKS blocks fit on a multiprocessor.
template <class T, int PADDED, int PART_ROWS, int RING_STAGES, int RESIDENT_BLOCKS>
struct Shape {
    using Type = T;
    static constexpr int NP = PADDED, ROWS = PART_ROWS, STAGES = RING_STAGES, BLOCKS = RESIDENT_BLOCKS;
    static constexpr int QUERIES = ROWS / CORNERS;
    static constexpr int PARTS = ARASFSR_TILE / QUERIES;
    static_assert(ROWS >= ARASFSR_TILE, "the coordinate branch of a tile uses the memory of the content rows");
};

// As many rows in a part as fit into shared memory, so that weights are read less often.
template <class T>
struct Shapes {
    using Wide = Shape<T, 256, 128, 4, 1>;       // 150 KB
    using WideInLess = Shape<T, 256, 64, 3, 1>;  // 92 KB
    using Middle = Shape<T, 128, 128, 4, 1>;
    using Narrow = Shape<T, 64, 128, 4, 2>;
};

// Numbers twice as long, so half the rows, the fewest possible. 100 KB are too little for a width of 256.
template <>
struct Shapes<Tf32> {
    using Wide = Shape<Tf32, 256, 64, 4, 1>;  // 147 KB
    using WideInLess = Wide;
    using Middle = Shape<Tf32, 128, 64, 4, 1>;
    using Narrow = Shape<Tf32, 64, 64, 4, 2>;
};

}  // namespace arasfsr
#endif
