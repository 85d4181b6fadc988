// The C API: checks, the choice of a kernel, its launch.
#include "checks.h"
#include "kernels.h"
#include "stream.h"

namespace arasfsr {
namespace {

Kernel<ForwardArguments> forward_for(const arasfsr_problem& problem, const Device& device) {
    return problem.dtype == ARASFSR_BFLOAT16 ? forward_kernel(Bfloat16{}, problem.padded, device.shared_limit)
                                             : forward_kernel(Float16{}, problem.padded, device.shared_limit);
}

// The kernel that renders, which keeps nothing.
Kernel<ForwardArguments> render_for(const arasfsr_problem& problem, const Device& device) {
#ifdef ARASFSR_WITH_90A
    if (device.capability == 90 && problem.padded == Stream::OUTPUTS) {
        const auto kernel =
            problem.dtype == ARASFSR_BFLOAT16 ? forward90_kernel(Bfloat16{}) : forward90_kernel(Float16{});
        if (kernel.shared_bytes <= device.shared_limit) return kernel;
    }
#endif
    return forward_for(problem, device);
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
    const int64_t turns = tiles / kernel.tiles + (tiles % kernel.tiles > 0);
    *blocks = std::min(*blocks, turns * kernel.cluster);
    return status;
}

// How a problem is rendered: by which kernel, how many blocks, and what of the scratch is whose.
struct Rendering {
    Kernel<ForwardArguments> kernel{};
    int64_t blocks = 0;
    int64_t stream_bytes = 0;  // of weights, followed by
    int64_t s_bytes = 0;

    size_t scratch_bytes() const { return static_cast<size_t>(stream_bytes + s_bytes); }
};

arasfsr_status plan(const arasfsr_problem* problem, Rendering* rendering) {
    Device device;
    arasfsr_status status = supported(problem, &device);
    if (failed(status) || empty(*problem)) return status;
    Rendering& result = *rendering;
    result.kernel = render_for(*problem, device);
    status = forward_blocks(result.kernel, "arasfsr_render", device, tiles_of(problem->queries), &result.blocks);
    if (result.kernel.streams) result.stream_bytes = Stream::of(*problem).bytes();
    const int64_t tiles = result.blocks / result.kernel.cluster * result.kernel.tiles;  // at a time
    if (problem->modulated) result.s_bytes = tiles * problem->layers * ARASFSR_TILE * problem->padded * 2;
    return status;
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
    Rendering rendering;
    const arasfsr_status status = plan(problem, &rendering);
    *bytes = failed(status) ? 0 : rendering.scratch_bytes();
    return status;
}

arasfsr_status arasfsr_render(const arasfsr_problem* problem, float* out, void* scratch, size_t scratch_bytes) {
    Rendering rendering;
    arasfsr_status status = plan(problem, &rendering);
    if (failed(status) || empty(*problem)) return status;
    status = check_inputs(*problem);
    if (failed(status)) return status;
    status = check_pointer("out", out);
    if (failed(status)) return status;
    if (scratch_bytes < rendering.scratch_bytes()) {
        return {ARASFSR_BAD_ARGUMENT, "scratch_bytes", static_cast<int64_t>(scratch_bytes)};
    }
    if (rendering.scratch_bytes() > 0) status = check_pointer("scratch", scratch);
    if (failed(status)) return status;
    unsigned char* stream = static_cast<unsigned char*>(scratch);
#ifdef ARASFSR_WITH_90A
    if (rendering.kernel.streams) status = order_stream(*problem, stream);
    if (failed(status)) return status;
#endif
    ForwardArguments arguments{*problem, Geometry::of(*problem), {}, out, stream};
    arguments.kept.count = problem->queries;
    arguments.kept.tiles = tiles_of(problem->queries);
    arguments.kept.s = stream + rendering.stream_bytes;
    return launch(rendering.kernel, "arasfsr_render", rendering.blocks, problem->stream, arguments);
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
    const ForwardArguments arguments{*problem, Geometry::of(*problem), *kept, nullptr, nullptr};
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
