// The forward kernel for compute capability 9.0a in bfloat16.
#include "forward90.h"
#include "kernels.h"

namespace arasfsr {

Kernel<ForwardArguments> forward90_kernel(Bfloat16) { return forward90_kernel_of<Bfloat16>(); }

}  // namespace arasfsr
