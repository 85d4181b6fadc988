// Instances of the forward kernel in bfloat16.
#include "kernels.h"

namespace arasfsr {

Kernel<ForwardArguments> forward_kernel(Bfloat16, int padded, int shared_limit) {
    return choose_forward<Bfloat16>(padded, shared_limit);
}

}  // namespace arasfsr
