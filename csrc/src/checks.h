// What the C API's functions refuse, before anything is launched.
#ifndef ARASFSR_CHECKS_H
#define ARASFSR_CHECKS_H

#include "launch.h"

namespace arasfsr {

constexpr int32_t MOST_LAYERS = 8;
constexpr int32_t LARGEST_LR_SIDE = 1 << 22;  // float32 tells half a cell of as many

// Sizes and switches, all but pointers to device memory.
arasfsr_status check_sizes(const arasfsr_problem* problem);

// What the forward reads, and what both directions write. Called where there is something to compute.
arasfsr_status check_inputs(const arasfsr_problem& problem);
arasfsr_status check_chunk(const arasfsr_problem& problem, const arasfsr_kept* kept);
arasfsr_status check_kept(const arasfsr_problem& problem, const arasfsr_kept& kept);
arasfsr_status check_gradients(const arasfsr_problem& problem, const arasfsr_gradients& gradients);
arasfsr_status check_weight_gradients(const void* z, const float* weights, const double* biases);
arasfsr_status check_scatter(const void* z, const float* latent, const float* rel);

// A pointer that must be there, aligned to 16 bytes; `value` tells how many bytes it is off.
arasfsr_status check_pointer(const char* name, const void* pointer);

}  // namespace arasfsr
#endif
