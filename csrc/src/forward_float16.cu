// Instances of the forward kernel in float16.
#include "kernels.h"

namespace arasfsr {

Kernel<ForwardArguments> forward_kernel(Float16, int padded, int shared_limit) {
    return choose_forward<Float16>(padded, shared_limit);
}

}  // namespace arasfsr
