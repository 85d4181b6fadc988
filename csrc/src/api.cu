// The C API: checks, the choice of a kernel, its launch.
#include "checks.h"
#include "kernels.h"
#include "stream.h"

namespace arasfsr {
namespace {

Kernel<ForwardArguments> portable_forward_for(const arasfsr_problem& problem, const Device& device) {
    return problem.dtype == ARASFSR_BFLOAT16 ? forward_kernel(Bfloat16{}, problem.padded, device.shared_limit)
                                             : forward_kernel(Float16{}, problem.padded, device.shared_limit);
}

Kernel<ForwardArguments> forward_for(const arasfsr_problem& problem, const Device& device) {
#ifdef ARASFSR_WITH_90A
    if (device.capability == 90 && problem.padded == Stream::OUTPUTS) {
        const auto kernel =
            problem.dtype == ARASFSR_BFLOAT16 ? forward90_kernel(Bfloat16{}) : forward90_kernel(Float16{});
        if (kernel.shared_bytes <= device.shared_limit) return kernel;
    }
#endif
    return portable_forward_for(problem, device);
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
    const auto forward = portable_forward_for(*problem, *device);
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

// A forward: by which kernel, how many blocks, and what of the scratch is whose.
struct Plan {
    const char* name;
    Kernel<ForwardArguments> kernel{};
    int64_t blocks = 0;
    int64_t stream_bytes = 0;  // of weights, followed by
    int64_t s_bytes = 0;

    size_t scratch_bytes() const { return static_cast<size_t>(stream_bytes + s_bytes); }
};

// `render` or not: then everything is kept, and s needs no scratch.
arasfsr_status plan(const arasfsr_problem& problem, const Device& device, int64_t tiles, bool render, Plan* plan) {
    plan->name = render ? "arasfsr_render" : "arasfsr_keep";
    plan->kernel = forward_for(problem, device);
    const arasfsr_status status = forward_blocks(plan->kernel, plan->name, device, tiles, &plan->blocks);
    if (plan->kernel.streams) plan->stream_bytes = Stream::of(problem).bytes();
    const int64_t at_a_time = plan->blocks / plan->kernel.cluster * plan->kernel.tiles;
    if (render && problem.modulated) plan->s_bytes = at_a_time * problem.layers * ARASFSR_TILE * problem.padded * 2;
    return status;
}

arasfsr_status check_scratch(const Plan& plan, const void* scratch, size_t bytes) {
    if (bytes < plan.scratch_bytes()) return {ARASFSR_BAD_ARGUMENT, "scratch_bytes", static_cast<int64_t>(bytes)};
    return plan.scratch_bytes() > 0 ? check_pointer("scratch", scratch) : OK;
}

// `arguments` but for the stream, whose place is the scratch.
arasfsr_status run(const Plan& plan, ForwardArguments arguments, void* scratch) {
    unsigned char* stream = static_cast<unsigned char*>(scratch);
#ifdef ARASFSR_WITH_90A
    if (plan.kernel.streams) {
        const arasfsr_status status = order_stream(arguments.problem, stream);
        if (failed(status)) return status;
    }
#endif
    arguments.stream = stream;
    return launch(plan.kernel, plan.name, plan.blocks, arguments.problem.stream, arguments);
}

// Of a forward of that many tiles.
arasfsr_status scratch_of(const arasfsr_problem* problem, bool render, size_t* bytes) {
    if (bytes == nullptr) return {ARASFSR_BAD_ARGUMENT, "bytes", 0};
    *bytes = 0;
    Device device;
    arasfsr_status status = supported(problem, &device);
    if (failed(status) || empty(*problem)) return status;
    Plan found;
    status = plan(*problem, device, tiles_of(problem->queries), render, &found);
    if (!failed(status)) *bytes = found.scratch_bytes();
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
    return scratch_of(problem, true, bytes);
}

arasfsr_status arasfsr_keep_scratch(const arasfsr_problem* problem, size_t* bytes) {
    return scratch_of(problem, false, bytes);
}

arasfsr_status arasfsr_render(const arasfsr_problem* problem, float* out, void* scratch, size_t scratch_bytes) {
    Device device;
    arasfsr_status status = supported(problem, &device);
    if (failed(status) || empty(*problem)) return status;
    status = check_inputs(*problem);
    if (failed(status)) return status;
    status = check_pointer("out", out);
    if (failed(status)) return status;
    ForwardArguments arguments{*problem, Geometry::of(*problem), {}, out, nullptr};
    arguments.kept.count = problem->queries;
    arguments.kept.tiles = tiles_of(problem->queries);
    Plan found;
    status = plan(*problem, device, arguments.kept.tiles, true, &found);
    if (failed(status)) return status;
    status = check_scratch(found, scratch, scratch_bytes);
    if (failed(status)) return status;
    arguments.kept.s = static_cast<unsigned char*>(scratch) + found.stream_bytes;
    return run(found, arguments, scratch);
}

arasfsr_status arasfsr_keep(
    const arasfsr_problem* problem, const arasfsr_kept* kept, void* scratch, size_t scratch_bytes) {
    Device device;
    arasfsr_status status = supported(problem, &device);
    if (failed(status)) return status;
    status = check_chunk(*problem, kept);
    if (failed(status) || empty(*problem) || kept->count == 0) return status;
    status = check_inputs(*problem);
    if (failed(status)) return status;
    status = check_kept(*problem, *kept);
    if (failed(status)) return status;
    Plan found;
    status = plan(*problem, device, kept->tiles, false, &found);
    if (failed(status)) return status;
    status = check_scratch(found, scratch, scratch_bytes);
    if (failed(status)) return status;
    return run(found, {*problem, Geometry::of(*problem), *kept, nullptr, nullptr}, scratch);
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
