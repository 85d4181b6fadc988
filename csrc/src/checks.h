// Checks of the C API's arguments, before anything is launched.
#ifndef ARASFSR_CHECKS_H
#define ARASFSR_CHECKS_H

#include "launch.h"

namespace arasfsr {

constexpr int32_t MOST_LAYERS = 8;
constexpr int32_t LARGEST_LR_SIDE = 1 << 22;  // so that float32 resolves half an LR pixel

// Everything in the problem but the pointers to device memory.
arasfsr_status check_sizes(const arasfsr_problem* problem);

// The forward's inputs, and the buffers of both directions. For calls that have something to compute.
arasfsr_status check_inputs(const arasfsr_problem& problem);
arasfsr_status check_chunk(const arasfsr_problem& problem, const arasfsr_kept* kept);
arasfsr_status check_kept(const arasfsr_problem& problem, const arasfsr_kept& kept);
arasfsr_status check_gradients(const arasfsr_problem& problem, const arasfsr_gradients& gradients);
arasfsr_status check_weight_gradients(const void* z, const float* weights, const double* biases);
arasfsr_status check_scatter(const void* z, const float* lr_map, const float* rel);

// The pointer must not be NULL, and must be aligned to 16 bytes; `value` of the status is its address modulo 16.
arasfsr_status check_pointer(const char* name, const void* pointer);

}  // namespace arasfsr
#endif
