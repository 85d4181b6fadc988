// Instances of the backward kernel in float16.
#include "kernels.h"

namespace arasfsr {

Kernel<BackwardArguments> backward_kernel(Float16, int padded, int shared_limit) {
    return choose_backward<Float16>(padded, shared_limit);
}

}  // namespace arasfsr
