// The forward kernels for compute capability 9.0a in float16.
#include "forward90.h"
#include "kernels.h"

namespace arasfsr {

Kernel<ForwardArguments> forward90_kernel(Float16, bool keeps) { return choose_forward90<Float16>(keeps); }

}  // namespace arasfsr
