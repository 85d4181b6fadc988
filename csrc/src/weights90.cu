// The gradients of the weights for compute capability 9.0a, in both formats.
#include "weights90.h"

#include "kernels.h"

namespace arasfsr {
namespace {

template <class T>
arasfsr_status run(const WeightArguments& arguments) {
    using K = Weights90<T>;
    hw::watch_kernels();
    const Kernel<WeightArguments> kernel{&weights90<T>, K::SHARED_BYTES, 0, K::THREADS, CLUSTER};
    const int64_t blocks = K::blocks(arguments.problem, arguments.splits);
    return launch(kernel, "arasfsr_weight_gradients", blocks, arguments.problem.stream, arguments);
}

}  // namespace

int64_t weight_splits90(const arasfsr_problem& problem, int processors) {
    return Weights90<Bfloat16>::splits(problem, processors);
}

arasfsr_status weight_gradients90(const arasfsr_problem& problem, const arasfsr_kept& kept, const void* z,
                                  float* weights, double* biases, int64_t splits) {
    const WeightArguments arguments{problem, kept, z, weights, biases, splits};
    return problem.dtype == ARASFSR_BFLOAT16 ? run<Bfloat16>(arguments) : run<Float16>(arguments);
}

}  // namespace arasfsr
