// The C API: checks, the choice of a kernel, its launch.
#include "checks.h"
#include "kernels.h"

namespace arasfsr {
namespace {

Kernel<ForwardArguments> forward_for(const arasfsr_problem& problem, const Device& device) {
    return problem.dtype == ARASFSR_BFLOAT16 ? forward_kernel(Bfloat16{}, problem.padded, device.shared_limit)
                                             : forward_kernel(Float16{}, problem.padded, device.shared_limit);
}

Kernel<BackwardArguments> backward_for(const arasfsr_problem& problem, const Device& device) {
    return problem.dtype == ARASFSR_BFLOAT16 ? backward_kernel(Bfloat16{}, problem.padded, device.shared_limit)
                                             : backward_kernel(Float16{}, problem.padded, device.shared_limit);
}

// The problem is one that some kernel takes on this device.
arasfsr_status supported(const arasfsr_problem* problem, Device* device) {
    arasfsr_status status = check_sizes(problem);
    if (failed(status)) return status;
    status = current_device(device);
    if (failed(status)) return status;
    if (device->capability < 80) return {ARASFSR_UNSUPPORTED, "compute capability", device->capability};
    const auto forward = forward_for(*problem, *device);
    const auto backward = backward_for(*problem, *device);
    if (forward.function == nullptr) return {ARASFSR_UNSUPPORTED, "padded", problem->padded};
    if (std::max(forward.shared_bytes, backward.shared_bytes) > device->shared_limit) {
        return {ARASFSR_UNSUPPORTED, "shared memory", device->shared_limit};
    }
    return has_code(forward, *device);
}

int64_t tiles_of(int64_t queries) { return queries / ARASFSR_TILE + (queries % ARASFSR_TILE > 0); }

bool empty(const arasfsr_problem& problem) { return problem.queries == 0 || problem.images == 0; }

// How many blocks take turns at the tiles.
arasfsr_status forward_blocks(const Kernel<ForwardArguments>& kernel, const char* name, const Device& device,
                              int64_t tiles, int64_t* blocks) {
    const arasfsr_status status = resident_blocks(kernel, name, device, blocks);
    *blocks = std::min(*blocks, tiles);
    return status;
}

size_t scratch_of(const arasfsr_problem& problem, int64_t blocks) {
    if (!problem.modulated) return 0;
    return static_cast<size_t>(blocks) * problem.layers * ARASFSR_TILE * problem.padded * 2;
}

arasfsr_status render_blocks(const arasfsr_problem* problem, Device* device, int64_t* blocks) {
    *blocks = 0;
    const arasfsr_status status = supported(problem, device);
    if (failed(status) || empty(*problem)) return status;
    const auto kernel = forward_for(*problem, *device);
    return forward_blocks(kernel, "arasfsr_render", *device, tiles_of(problem->queries), blocks);
}

}  // namespace
}  // namespace arasfsr

using namespace arasfsr;

int32_t arasfsr_abi(void) { return ARASFSR_ABI; }

const char* arasfsr_architectures(void) {
#ifdef ARASFSR_EMULATE
    return "emulated";
#else
    return ARASFSR_ARCHITECTURE_LIST;
#endif
}

arasfsr_status arasfsr_supports(const arasfsr_problem* problem) {
    Device device;
    return supported(problem, &device);
}

arasfsr_status arasfsr_render_scratch(const arasfsr_problem* problem, size_t* bytes) {
    if (bytes == nullptr) return {ARASFSR_BAD_ARGUMENT, "bytes", 0};
    Device device;
    int64_t blocks;
    const arasfsr_status status = render_blocks(problem, &device, &blocks);
    *bytes = failed(status) ? 0 : scratch_of(*problem, blocks);
    return status;
}

arasfsr_status arasfsr_render(const arasfsr_problem* problem, float* out, void* scratch, size_t scratch_bytes) {
    Device device;
    int64_t blocks;
    arasfsr_status status = render_blocks(problem, &device, &blocks);
    if (failed(status) || empty(*problem)) return status;
    status = check_inputs(*problem);
    if (failed(status)) return status;
    status = check_pointer("out", out);
    if (failed(status)) return status;
    const size_t needed = scratch_of(*problem, blocks);
    if (scratch_bytes < needed) {
        return {ARASFSR_BAD_ARGUMENT, "scratch_bytes", static_cast<int64_t>(scratch_bytes)};
    }
    if (needed > 0) status = check_pointer("scratch", scratch);
    if (failed(status)) return status;
    ForwardArguments arguments{*problem, Geometry::of(*problem), {}, out};
    arguments.kept.count = problem->queries;
    arguments.kept.tiles = tiles_of(problem->queries);
    arguments.kept.s = scratch;
    return launch(forward_for(*problem, device), "arasfsr_render", blocks, problem->stream, arguments);
}

arasfsr_status arasfsr_keep(const arasfsr_problem* problem, const arasfsr_kept* kept) {
    Device device;
    arasfsr_status status = supported(problem, &device);
    if (failed(status)) return status;
    status = check_chunk(*problem, kept);
    if (failed(status) || empty(*problem) || kept->count == 0) return status;
    status = check_inputs(*problem);
    if (failed(status)) return status;
    status = check_kept(*problem, *kept);
    if (failed(status)) return status;
    const auto kernel = forward_for(*problem, device);
    int64_t blocks;
    status = forward_blocks(kernel, "arasfsr_keep", device, kept->tiles, &blocks);
    if (failed(status)) return status;
    const ForwardArguments arguments{*problem, Geometry::of(*problem), *kept, nullptr};
    return launch(kernel, "arasfsr_keep", blocks, problem->stream, arguments);
}

arasfsr_status arasfsr_backward(
    const arasfsr_problem* problem, const arasfsr_kept* kept, const arasfsr_gradients* gradients) {
    Device device;
    arasfsr_status status = supported(problem, &device);
    if (failed(status)) return status;
    status = check_chunk(*problem, kept);
    if (failed(status)) return status;
    if (gradients == nullptr) return {ARASFSR_BAD_ARGUMENT, "gradients", 0};
    if (empty(*problem) || kept->count == 0) return OK;
    status = check_inputs(*problem);
    if (failed(status)) return status;
    status = check_kept(*problem, *kept);
    if (failed(status)) return status;
    status = check_gradients(*problem, *gradients);
    if (failed(status)) return status;
    const auto kernel = backward_for(*problem, device);
    const int64_t blocks = kept->tiles * (ARASFSR_TILE / kernel.queries);
    const BackwardArguments arguments{*problem, *kept, *gradients};
    return launch(kernel, "arasfsr_backward", blocks, problem->stream, arguments);
}
