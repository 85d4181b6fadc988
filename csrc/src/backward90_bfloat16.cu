// The backward kernel for compute capability 9.0a in bfloat16.
#include "backward90.h"
#include "kernels.h"

namespace arasfsr {

Kernel<BackwardArguments> backward90_kernel(Bfloat16) {
    return streaming_kernel<Backward90<Bfloat16>>(&backward90<Bfloat16>);
}

}  // namespace arasfsr
