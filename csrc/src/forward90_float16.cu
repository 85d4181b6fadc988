// The forward kernel for compute capability 9.0a in float16.
#include "forward90.h"
#include "kernels.h"

namespace arasfsr {

Kernel<ForwardArguments> forward90_kernel(Float16) {
    return streaming_kernel<Forward90<Float16>>(&forward90<Float16>);
}

}  // namespace arasfsr
