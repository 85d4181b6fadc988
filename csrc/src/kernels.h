// The kernels' instances: one file each direction and dtype, so that they compile side by side.
#ifndef ARASFSR_KERNELS_H
#define ARASFSR_KERNELS_H

#include "backward.h"
#include "forward.h"
#include "launch.h"

namespace arasfsr {

// The kernel for rows `padded` long that fits in the shared memory of a block, if there is one.
Kernel<ForwardArguments> forward_kernel(Bfloat16, int padded, int shared_limit);
Kernel<ForwardArguments> forward_kernel(Float16, int padded, int shared_limit);
Kernel<BackwardArguments> backward_kernel(Bfloat16, int padded, int shared_limit);
Kernel<BackwardArguments> backward_kernel(Float16, int padded, int shared_limit);

// The kernels for rows 256 long on compute capability 9.0, where the build has code for 90a.
Kernel<ForwardArguments> forward90_kernel(Bfloat16);
Kernel<ForwardArguments> forward90_kernel(Float16);
Kernel<BackwardArguments> backward90_kernel(Bfloat16);
Kernel<BackwardArguments> backward90_kernel(Float16);

template <template <class> class KERNEL, class T, class Arguments, class Of>
Kernel<Arguments> choose(int padded, int shared_limit, const Of& of) {
    if (padded == 64) return of(Narrow<T>{});
    if (padded == 128) return of(Middle<T>{});
    if (padded == 256 && shared_limit >= KERNEL<Wide<T>>::SHARED_BYTES) return of(Wide<T>{});
    if (padded == 256) return of(WideInLess<T>{});
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
