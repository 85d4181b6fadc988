// The backward kernel for compute capability 9.0a in float16.
#include "backward90.h"
#include "kernels.h"

namespace arasfsr {

Kernel<BackwardArguments> backward90_kernel(Float16) {
    return streaming_kernel<Backward90<Float16>>(&backward90<Float16>);
}

}  // namespace arasfsr
