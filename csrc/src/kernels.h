// The kernels as api.cu asks for them. Those that take long to compile are declared here and instantiated one file for
// each format, so that they compile in parallel: the table is in CMakeLists.txt.
#ifndef ARASFSR_KERNELS_H
#define ARASFSR_KERNELS_H

#include "coordinate90.h"
#include "decoder.h"
#include "decoder_backward.h"
#include "launch.h"
#include "shape.h"

namespace arasfsr {

// The kernel for rows `padded` long; of two kernels, the one that fits into the shared memory of a block.
template <class T>
struct ForwardKernels {
    static Kernel<ForwardArguments> find(int padded, int shared_limit);
};
template <class T>
struct BackwardKernels {
    static Kernel<BackwardArguments> find(int padded, int shared_limit);
};

// The kernels for rows 256 long on compute capability 9.0, if the build has code for 90a. One forward keeps what the
// backward reads, the other has no code for that.
template <class T>
struct Forward90Kernels {
    static Kernel<ForwardArguments> find(bool keeps);
};
template <class T>
struct Backward90Kernels {
    static Kernel<BackwardArguments> find();
};

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

// Of the instances of KERNEL in format T, the one for rows `padded` long; `of` has the kernel of a Shape.
template <template <class> class KERNEL, class T, class Arguments, class Of>
Kernel<Arguments> choose(int padded, int shared_limit, const Of& of) {
    using S = Shapes<T>;
    if (padded == 64) return of(typename S::Narrow{});
    if (padded == 128) return of(typename S::Middle{});
    if (padded == 256 && shared_limit >= KERNEL<typename S::Wide>::SHARED_BYTES) return of(typename S::Wide{});
    if (padded == 256) return of(typename S::WideInLess{});
    return {nullptr, 0, 0};
}

}  // namespace arasfsr
#endif
