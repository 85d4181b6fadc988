// Instances of the backward kernel in TF32.
#include "kernels.h"

namespace arasfsr {

Kernel<BackwardArguments> backward_kernel(Tf32, int padded, int shared_limit) {
    return choose_backward<Tf32>(padded, shared_limit);
}

}  // namespace arasfsr
