// The forward kernel for compute capability 9.0a in float16.
#include "forward90.h"
#include "kernels.h"

namespace arasfsr {

Kernel<ForwardArguments> forward90_kernel(Float16) { return forward90_kernel_of<Float16>(); }

}  // namespace arasfsr
