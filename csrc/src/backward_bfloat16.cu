// Instances of the backward kernel in bfloat16.
#include "kernels.h"

namespace arasfsr {

Kernel<BackwardArguments> backward_kernel(Bfloat16, int padded, int shared_limit) {
    return choose_backward<Bfloat16>(padded, shared_limit);
}

}  // namespace arasfsr
