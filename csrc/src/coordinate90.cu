// The backward of the coordinate branch for compute capability 9.0a, in both formats.
#include "coordinate90.h"

#include "kernels.h"

namespace arasfsr {

Kernel<CoordinateArguments> coordinate90_kernel(Bfloat16) {
    return streaming_kernel<Coordinate90<Bfloat16>>(&coordinate90<Bfloat16>);
}

Kernel<CoordinateArguments> coordinate90_kernel(Float16) {
    return streaming_kernel<Coordinate90<Float16>>(&coordinate90<Float16>);
}

}  // namespace arasfsr
