// The kernels' instances: one file each direction and dtype, so that they compile side by side.
#ifndef ARASFSR_KERNELS_H
#define ARASFSR_KERNELS_H

#include "backward.h"
#include "coordinate90.h"
#include "forward.h"
#include "launch.h"

namespace arasfsr {

// The kernel for rows `padded` long; of two kernels, the one that fits into the shared memory of a block.
Kernel<ForwardArguments> forward_kernel(Bfloat16, int padded, int shared_limit);
Kernel<ForwardArguments> forward_kernel(Float16, int padded, int shared_limit);
Kernel<ForwardArguments> forward_kernel(Tf32, int padded, int shared_limit);
Kernel<BackwardArguments> backward_kernel(Bfloat16, int padded, int shared_limit);
Kernel<BackwardArguments> backward_kernel(Float16, int padded, int shared_limit);
Kernel<BackwardArguments> backward_kernel(Tf32, int padded, int shared_limit);

// The kernels for rows 256 long on compute capability 9.0, where the build has code for 90a. A forward keeps what the
// backward takes, or carries no code for it.
Kernel<ForwardArguments> forward90_kernel(Bfloat16, bool keeps);
Kernel<ForwardArguments> forward90_kernel(Float16, bool keeps);
Kernel<BackwardArguments> backward90_kernel(Bfloat16);
Kernel<BackwardArguments> backward90_kernel(Float16);

Kernel<CoordinateArguments> coordinate90_kernel(Bfloat16);
Kernel<CoordinateArguments> coordinate90_kernel(Float16);

// The gradients of the weights, also for compute capability 9.0, with modulation: the number of partial sums, and the
// launch.
int64_t weight_splits90(const arasfsr_problem& problem, int processors);
arasfsr_status weight_gradients90(const arasfsr_problem& problem, const arasfsr_kept& kept, const void* z,
                                  float* weights, double* biases, int64_t splits);

// Launches the backward of the first layer. `padded` must be supported by the kernels above.
arasfsr_status scatter(const arasfsr_problem& problem, const arasfsr_kept& kept, const void* z, float* lr_map,
                       float* rel);

template <template <class> class KERNEL, class T, class Arguments, class Of>
Kernel<Arguments> choose(int padded, int shared_limit, const Of& of) {
    using S = Shapes<T>;
    if (padded == 64) return of(typename S::Narrow{});
    if (padded == 128) return of(typename S::Middle{});
    if (padded == 256 && shared_limit >= KERNEL<typename S::Wide>::SHARED_BYTES) return of(typename S::Wide{});
    if (padded == 256) return of(typename S::WideInLess{});
    return {nullptr, 0, 0};
}

template <class T>
Kernel<ForwardArguments> choose_forward(int padded, int shared_limit) {
    return choose<Forward, T, ForwardArguments>(padded, shared_limit, [](auto shape) {
        return kernel_of<Forward, decltype(shape)>(&forward<decltype(shape)>);
    });
}

template <class T>
Kernel<BackwardArguments> choose_backward(int padded, int shared_limit) {
    return choose<Backward, T, BackwardArguments>(padded, shared_limit, [](auto shape) {
        return kernel_of<Backward, decltype(shape)>(&backward<decltype(shape)>);
    });
}

}  // namespace arasfsr
#endif
