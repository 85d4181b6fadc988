// The backward kernel for compute capability 9.0a in float16.
#include "backward90.h"
#include "kernels.h"

namespace arasfsr {

Kernel<BackwardArguments> backward90_kernel(Float16) { return backward90_kernel_of<Float16>(); }

}  // namespace arasfsr
