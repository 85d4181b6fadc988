// Instances of the forward kernel in TF32.
#include "kernels.h"

namespace arasfsr {

Kernel<ForwardArguments> forward_kernel(Tf32, int padded, int shared_limit) {
    return choose_forward<Tf32>(padded, shared_limit);
}

}  // namespace arasfsr
