// The forward kernels for compute capability 9.0a in bfloat16.
#include "forward90.h"
#include "kernels.h"

namespace arasfsr {

Kernel<ForwardArguments> forward90_kernel(Bfloat16, bool keeps) { return choose_forward90<Bfloat16>(keeps); }

}  // namespace arasfsr
