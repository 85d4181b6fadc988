// The forward kernel for compute capability 9.0a in bfloat16.
#include "forward90.h"
#include "kernels.h"

namespace arasfsr {

Kernel<ForwardArguments> forward90_kernel(Bfloat16) {
    return streaming_kernel<Forward90<Bfloat16>>(&forward90<Bfloat16>);
}

}  // namespace arasfsr
