// The C API: checks arguments, chooses a kernel and launches it.
#include <initializer_list>

#include "checks.h"
#include "kernels.h"
#include "stream.h"

namespace arasfsr {
namespace {

// Calls `of` with the format of a dtype.
template <class Of>
auto by_format(int32_t dtype, const Of& of) {
    if (dtype == ARASFSR_TF32) return of(Tf32{});
    return dtype == ARASFSR_BFLOAT16 ? of(Bfloat16{}) : of(Float16{});
}

Kernel<ForwardArguments> portable_forward_for(const arasfsr_problem& problem, const Device& device) {
    return by_format(problem.dtype, [&](auto format) {
        return ForwardKernels<decltype(format)>::find(problem.padded, device.shared_limit);
    });
}

Kernel<BackwardArguments> portable_backward_for(const arasfsr_problem& problem, const Device& device) {
    return by_format(problem.dtype, [&](auto format) {
        return BackwardKernels<decltype(format)>::find(problem.padded, device.shared_limit);
    });
}

#ifdef ARASFSR_WITH_90A

bool streams(const arasfsr_problem& problem, const Device& device) {
    return device.capability == 90 && problem.padded == Stream::OUTPUTS && problem.dtype != ARASFSR_TF32;
}

Kernel<ForwardArguments> forward_for(const arasfsr_problem& problem, const Device& device, bool keeps) {
    if (!streams(problem, device)) return portable_forward_for(problem, device);
    const bool bfloat16 = problem.dtype == ARASFSR_BFLOAT16;
    return bfloat16 ? Forward90Kernels<Bfloat16>::find(keeps) : Forward90Kernels<Float16>::find(keeps);
}

Kernel<BackwardArguments> backward_for(const arasfsr_problem& problem, const Device& device) {
    if (!streams(problem, device)) return portable_backward_for(problem, device);
    const bool bfloat16 = problem.dtype == ARASFSR_BFLOAT16;
    return bfloat16 ? Backward90Kernels<Bfloat16>::find() : Backward90Kernels<Float16>::find();
}

// The kernels for the weights and for the coordinate branch need modulation and a hidden layer.
int64_t weight_splits_of(const arasfsr_problem& problem, const Device& device) {
    const bool has_kernel = streams(problem, device) && problem.modulated && problem.layers > 1;
    return has_kernel ? weight_splits90(problem, device.processors) : 0;
}

Kernel<CoordinateArguments> coordinate_for(const arasfsr_problem& problem, const Device& device) {
    if (weight_splits_of(problem, device) == 0) return {nullptr, 0, 0};
    return problem.dtype == ARASFSR_BFLOAT16 ? coordinate90_kernel(Bfloat16{}) : coordinate90_kernel(Float16{});
}

#else

int64_t weight_splits_of(const arasfsr_problem&, const Device&) { return 0; }

Kernel<CoordinateArguments> coordinate_for(const arasfsr_problem&, const Device&) { return {nullptr, 0, 0}; }

Kernel<ForwardArguments> forward_for(const arasfsr_problem& problem, const Device& device, bool) {
    return portable_forward_for(problem, device);
}

Kernel<BackwardArguments> backward_for(const arasfsr_problem& problem, const Device& device) {
    return portable_backward_for(problem, device);
}

#endif

// Checks that there is a kernel for the problem on the current device.
arasfsr_status supported(const arasfsr_problem* problem, Device* device) {
    arasfsr_status status = check_sizes(problem);
    if (failed(status)) return status;
    status = current_device(device);
    if (failed(status)) return status;
    if (device->capability < 80) return {ARASFSR_UNSUPPORTED, "compute capability", device->capability};
    const auto portable = portable_forward_for(*problem, *device);
    if (portable.function == nullptr) return {ARASFSR_UNSUPPORTED, "padded", problem->padded};
    const int forward = forward_for(*problem, *device, false).shared_bytes;
    const int backward = backward_for(*problem, *device).shared_bytes;
    if (std::max(forward, backward) > device->shared_limit) {
        return {ARASFSR_UNSUPPORTED, "shared memory", device->shared_limit};
    }
    return has_code(portable, *device);
}

int64_t tiles_of(int64_t queries) { return queries / ARASFSR_TILE + (queries % ARASFSR_TILE > 0); }

bool empty(const arasfsr_problem& problem) { return problem.queries == 0 || problem.images == 0; }

// A launch: the kernel, the number of blocks, and the layout of the scratch.
template <class Arguments>
struct Plan {
    const char* name;
    Kernel<Arguments> kernel;
    int64_t blocks = 0;
    int64_t stream_bytes = 0;  // for the ordered weights, followed by
    int64_t s_bytes = 0;       // for s, if a forward keeps nothing

    int64_t at_a_time() const { return blocks / kernel.cluster * kernel.units; }
    size_t scratch_bytes() const { return static_cast<size_t>(stream_bytes + s_bytes); }
};

// Sets the number of blocks for that many units of work, which resident blocks process in turns.
template <class Arguments>
arasfsr_status take_turns(Plan<Arguments>& plan, const Device& device, int64_t units) {
    const Kernel<Arguments>& kernel = plan.kernel;
    const arasfsr_status status = resident_blocks(kernel, plan.name, device, &plan.blocks);
    const int64_t turns = units / kernel.units + (units % kernel.units > 0);
    plan.blocks = std::min(plan.blocks, turns * kernel.cluster);
    return status;
}

// A forward that renders, or one that keeps everything, which needs no scratch for s.
arasfsr_status plan_forward(const arasfsr_problem& problem, const Device& device, int64_t tiles, bool render,
                            Plan<ForwardArguments>* plan) {
    *plan = {render ? "arasfsr_render" : "arasfsr_keep", forward_for(problem, device, !render)};
    const arasfsr_status status = take_turns(*plan, device, tiles);
    if (plan->kernel.streams) plan->stream_bytes = Stream::of(problem).bytes();
    const int64_t s_bytes = ARASFSR_TILE * problem.padded * (problem.dtype == ARASFSR_TF32 ? 4 : 2);
    if (render && problem.modulated) plan->s_bytes = plan->at_a_time() * problem.layers * s_bytes;
    return status;
}

arasfsr_status plan_backward(
    const arasfsr_problem& problem, const Device& device, int64_t tiles, Plan<BackwardArguments>* plan) {
    *plan = {"arasfsr_backward", backward_for(problem, device)};
    const int64_t parts = tiles * (ARASFSR_TILE / plan->kernel.queries);
    if (!plan->kernel.streams) {
        plan->blocks = parts;
        return OK;
    }
    plan->stream_bytes = BackwardStream::of(problem).bytes();
    return take_turns(*plan, device, parts);
}

arasfsr_status plan_coordinate(
    const arasfsr_problem& problem, const Device& device, int64_t tiles, Plan<CoordinateArguments>* plan) {
    *plan = {"arasfsr_coordinate", coordinate_for(problem, device)};
    if (plan->kernel.function == nullptr) return {ARASFSR_UNSUPPORTED, "arasfsr_coordinate", device.capability};
    plan->stream_bytes = CoordinateStream::of(problem).bytes();
    return take_turns(*plan, device, tiles);
}

template <class Arguments>
arasfsr_status check_scratch(const Plan<Arguments>& plan, const void* scratch, size_t bytes) {
    if (bytes < plan.scratch_bytes()) return {ARASFSR_BAD_ARGUMENT, "scratch_bytes", static_cast<int64_t>(bytes)};
    return plan.scratch_bytes() > 0 ? check_pointer("scratch", scratch) : OK;
}

// Launches a plan with its arguments, after copying the weights to the start of the scratch in the order of stream S.
template <class S, class Arguments>
arasfsr_status run(const Plan<Arguments>& plan, Arguments arguments, void* scratch) {
    unsigned char* stream = static_cast<unsigned char*>(scratch);
#ifdef ARASFSR_WITH_90A
    if (plan.kernel.streams) {
        const arasfsr_status status = order_stream<S>(arguments.problem, stream);
        if (failed(status)) return status;
    }
#endif
    arguments.stream = stream;
    return launch(plan.kernel, plan.name, plan.blocks, arguments.problem.stream, arguments);
}

// The first failure of calls that are made in order, or OK.
arasfsr_status first_failure(std::initializer_list<arasfsr_status> statuses) {
    for (const arasfsr_status& status : statuses) {
        if (failed(status)) return status;
    }
    return OK;
}

// The checks of every function over a chunk; then, if there is something to compute, work(device).
template <class Work>
arasfsr_status over_chunk(const arasfsr_problem* problem, const arasfsr_kept* kept, const Work& work) {
    Device device;
    arasfsr_status status = supported(problem, &device);
    if (failed(status)) return status;
    status = check_chunk(*problem, kept);
    if (failed(status) || empty(*problem) || kept->count == 0) return status;
    status = check_kept(*problem, *kept);
    return failed(status) ? status : work(device);
}

// The scratch of what make(device, tiles, &plan) plans; 0 if there is nothing to compute.
template <class Arguments, class Make>
arasfsr_status scratch_of(const arasfsr_problem* problem, size_t* bytes, const Make& make) {
    if (bytes == nullptr) return {ARASFSR_BAD_ARGUMENT, "bytes", 0};
    *bytes = 0;
    Device device;
    arasfsr_status status = supported(problem, &device);
    if (failed(status) || empty(*problem)) return status;
    Plan<Arguments> plan{};
    status = make(device, tiles_of(problem->queries), &plan);
    if (!failed(status)) *bytes = plan.scratch_bytes();
    return status;
}

arasfsr_status scratch_of_forward(const arasfsr_problem* problem, bool render, size_t* bytes) {
    return scratch_of<ForwardArguments>(problem, bytes, [&](const Device& device, int64_t tiles, auto* plan) {
        return plan_forward(*problem, device, tiles, render, plan);
    });
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
    return scratch_of_forward(problem, true, bytes);
}

arasfsr_status arasfsr_keep_scratch(const arasfsr_problem* problem, size_t* bytes) {
    return scratch_of_forward(problem, false, bytes);
}

arasfsr_status arasfsr_turn(const arasfsr_problem* problem, int64_t* tiles) {
    if (tiles == nullptr) return {ARASFSR_BAD_ARGUMENT, "tiles", 0};
    Device device;
    arasfsr_status status = supported(problem, &device);
    if (failed(status)) return status;
    Plan<ForwardArguments> plan{};
    status = plan_forward(*problem, device, tiles_of(INT64_MAX), false, &plan);
    *tiles = plan.at_a_time();
    return status;
}

arasfsr_status arasfsr_render(const arasfsr_problem* problem, float* out, void* scratch, size_t scratch_bytes) {
    Device device;
    arasfsr_status status = supported(problem, &device);
    if (failed(status) || empty(*problem)) return status;
    ForwardArguments arguments{*problem, Geometry::of(*problem), {}, out, nullptr};
    arguments.kept.count = problem->queries;
    arguments.kept.tiles = tiles_of(problem->queries);
    Plan<ForwardArguments> plan{};
    status = first_failure({check_inputs(*problem), check_pointer("out", out),
                            plan_forward(*problem, device, arguments.kept.tiles, true, &plan),
                            check_scratch(plan, scratch, scratch_bytes)});
    if (failed(status)) return status;
    arguments.kept.s = static_cast<unsigned char*>(scratch) + plan.stream_bytes;
    return run<Stream>(plan, arguments, scratch);
}

arasfsr_status arasfsr_keep(
    const arasfsr_problem* problem, const arasfsr_kept* kept, void* scratch, size_t scratch_bytes) {
    return over_chunk(problem, kept, [&](const Device& device) {
        Plan<ForwardArguments> plan{};
        const arasfsr_status status =
            first_failure({check_inputs(*problem), plan_forward(*problem, device, kept->tiles, false, &plan),
                           check_scratch(plan, scratch, scratch_bytes)});
        if (failed(status)) return status;
        const ForwardArguments arguments{*problem, Geometry::of(*problem), *kept, nullptr, nullptr};
        return run<Stream>(plan, arguments, scratch);
    });
}

arasfsr_status arasfsr_backward_scratch(const arasfsr_problem* problem, size_t* bytes) {
    return scratch_of<BackwardArguments>(problem, bytes, [&](const Device& device, int64_t tiles, auto* plan) {
        return plan_backward(*problem, device, tiles, plan);
    });
}

arasfsr_status arasfsr_backward(const arasfsr_problem* problem, const arasfsr_kept* kept,
                                const arasfsr_gradients* gradients, void* scratch, size_t scratch_bytes) {
    if (gradients == nullptr) return {ARASFSR_BAD_ARGUMENT, "gradients", 0};
    return over_chunk(problem, kept, [&](const Device& device) {
        Plan<BackwardArguments> plan{};
        const arasfsr_status status =
            first_failure({check_inputs(*problem), check_gradients(*problem, *gradients),
                           plan_backward(*problem, device, kept->tiles, &plan),
                           check_scratch(plan, scratch, scratch_bytes)});
        if (failed(status)) return status;
        const BackwardArguments arguments{*problem, *kept, *gradients, nullptr};
        return run<BackwardStream>(plan, arguments, scratch);
    });
}

arasfsr_status arasfsr_scatter(
    const arasfsr_problem* problem, const arasfsr_kept* kept, const void* z, float* lr_map, float* rel) {
    return over_chunk(problem, kept, [&](const Device&) {
        const arasfsr_status status = check_scatter(z, lr_map, rel);
        return failed(status) ? status : scatter(*problem, *kept, z, lr_map, rel);
    });
}

arasfsr_status arasfsr_weight_splits(const arasfsr_problem* problem, int64_t* splits) {
    if (splits == nullptr) return {ARASFSR_BAD_ARGUMENT, "splits", 0};
    Device device;
    const arasfsr_status status = supported(problem, &device);
    if (!failed(status)) *splits = weight_splits_of(*problem, device);
    return status;
}

arasfsr_status arasfsr_weight_gradients(const arasfsr_problem* problem, const arasfsr_kept* kept, const void* z,
                                        float* weights, double* biases, int64_t splits) {
    return over_chunk(problem, kept, [&](const Device& device) {
        if (splits < 1 || weight_splits_of(*problem, device) == 0) {
            return arasfsr_status{ARASFSR_UNSUPPORTED, "splits", splits};
        }
        const arasfsr_status status = check_weight_gradients(z, weights, biases);
#ifdef ARASFSR_WITH_90A
        if (!failed(status)) return weight_gradients90(*problem, *kept, z, weights, biases, splits);
#endif
        return status;
    });
}

arasfsr_status arasfsr_coordinate_scratch(const arasfsr_problem* problem, size_t* bytes) {
    return scratch_of<CoordinateArguments>(problem, bytes, [&](const Device& device, int64_t tiles, auto* plan) {
        return plan_coordinate(*problem, device, tiles, plan);
    });
}

arasfsr_status arasfsr_coordinate(const arasfsr_problem* problem, const arasfsr_kept* kept, const float* s,
                                  void* scratch, size_t scratch_bytes) {
    return over_chunk(problem, kept, [&](const Device& device) {
        Plan<CoordinateArguments> plan{};
        const arasfsr_status status =
            first_failure({check_inputs(*problem), check_pointer("s", s),
                           plan_coordinate(*problem, device, kept->tiles, &plan),
                           check_scratch(plan, scratch, scratch_bytes)});
        if (failed(status)) return status;
        const CoordinateArguments arguments{*problem, *kept, s, nullptr};
        return run<CoordinateStream>(plan, arguments, scratch);
    });
}
