// Checks of the C API's arguments: sizes, switches and pointers.
#include "checks.h"

#include <initializer_list>

namespace arasfsr {
namespace {

struct Range {
    const char* name;
    int64_t value, least, most;
};

struct Pointer {
    const char* name;
    const void* pointer;
    bool required;
};

constexpr int64_t MANY = INT64_MAX;

arasfsr_status check_ranges(std::initializer_list<Range> ranges) {
    for (const Range& range : ranges) {
        if (range.value < range.least || range.value > range.most) {
            return {ARASFSR_BAD_ARGUMENT, range.name, range.value};
        }
    }
    return OK;
}

arasfsr_status check_pointers(std::initializer_list<Pointer> pointers) {
    for (const Pointer& each : pointers) {
        if (!each.required && each.pointer == nullptr) continue;
        const arasfsr_status status = check_pointer(each.name, each.pointer);
        if (failed(status)) return status;
    }
    return OK;
}

arasfsr_status check_region(const arasfsr_problem& problem) {
    const arasfsr_status status = check_ranges({
        {"grid_width", problem.grid_width, 1, MANY},
        {"region_top", problem.region_top, 0, problem.grid_height},
        {"region_left", problem.region_left, 0, problem.grid_width},
        {"region_width", problem.region_width, 1, MANY},
    });
    if (failed(status)) return status;
    const int64_t height = problem.queries / problem.region_width + (problem.queries % problem.region_width > 0);
    return check_ranges({
        {"region_width", problem.region_width, 1, problem.grid_width - problem.region_left},
        {"queries", height, 0, problem.grid_height - problem.region_top},
    });
}

}  // namespace

arasfsr_status check_pointer(const char* name, const void* pointer) {
    const uintptr_t off = reinterpret_cast<uintptr_t>(pointer) % 16;
    if (pointer == nullptr || off != 0) return {ARASFSR_BAD_ARGUMENT, name, static_cast<int64_t>(off)};
    return OK;
}

arasfsr_status check_sizes(const arasfsr_problem* pointer) {
    if (pointer == nullptr) return {ARASFSR_BAD_ARGUMENT, "problem", 0};
    const arasfsr_problem& problem = *pointer;
    const bool per_image = problem.per_image > 0;
    const arasfsr_status status = check_ranges({
        {"abi", problem.abi, ARASFSR_ABI, ARASFSR_ABI},
        {"dtype", problem.dtype, ARASFSR_BFLOAT16, ARASFSR_TF32},
        {"layers", problem.layers, 1, MANY},
        {"width", problem.width, 1, MANY},
        {"padded", problem.padded, problem.width, MANY},
        {"modulated", problem.modulated, 0, 1},
        {"lr_height", problem.lr_height, 1, MANY},
        {"lr_width", problem.lr_width, 1, MANY},
        {"per_image", problem.per_image, 0, MANY},
        {"images", problem.images, 0, per_image ? 1 : MANY},
        {"queries", problem.queries, 0, MANY},
        {"grid_height", problem.grid_height, 0, per_image ? 0 : MANY},
    });
    if (failed(status)) return status;
    if (problem.layers > MOST_LAYERS) return {ARASFSR_UNSUPPORTED, "layers", problem.layers};
    if (problem.lr_height > LARGEST_LR_SIDE) return {ARASFSR_UNSUPPORTED, "lr_height", problem.lr_height};
    if (problem.lr_width > LARGEST_LR_SIDE) return {ARASFSR_UNSUPPORTED, "lr_width", problem.lr_width};
    return problem.grid_height > 0 ? check_region(problem) : OK;
}

arasfsr_status check_inputs(const arasfsr_problem& problem) {
    const bool hidden = problem.layers > 1, modulated = problem.modulated != 0;
    return check_pointers({
        {"lr_map", problem.lr_map, true},
        {"image", problem.image, false},
        {"coord", problem.coord, problem.grid_height == 0},
        {"cell", problem.cell, false},
        {"rel_weight", problem.rel_weight, true},
        {"cell_weight", problem.cell_weight, problem.cell != nullptr},
        {"content_weight", problem.content_weight, hidden},
        {"content_bias", problem.content_bias, hidden},
        {"encoding_weight", problem.encoding_weight, modulated},
        {"modulator_weight", problem.modulator_weight, modulated && hidden},
        {"modulator_bias", problem.modulator_bias, modulated},
        {"output_weight", problem.output_weight, true},
        {"output_bias", problem.output_bias, true},
    });
}

arasfsr_status check_chunk(const arasfsr_problem& problem, const arasfsr_kept* kept) {
    if (kept == nullptr) return {ARASFSR_BAD_ARGUMENT, "kept", 0};
    return check_ranges({
        {"first", kept->first, 0, problem.queries},
        {"count", kept->count, 0, problem.queries - kept->first},
        {"tiles", kept->tiles, kept->count / ARASFSR_TILE + (kept->count % ARASFSR_TILE > 0), MANY / ARASFSR_TILE},
    });
}

arasfsr_status check_kept(const arasfsr_problem& problem, const arasfsr_kept& kept) {
    const bool modulated = problem.modulated != 0;
    return check_pointers({
        {"f", kept.f, true},
        {"s", kept.s, modulated},
        {"cosines", kept.cosines, modulated},
        {"lr_rows", kept.lr_rows, true},
        {"rel", kept.rel, true},
        {"share", kept.share, true},
    });
}

arasfsr_status check_gradients(const arasfsr_problem& problem, const arasfsr_gradients& gradients) {
    return check_pointers({
        {"grad", gradients.grad, true},
        {"z", gradients.z, true},
        {"s", gradients.s, problem.modulated != 0},
        {"share", gradients.share, false},
        {"combined", gradients.combined, true},
    });
}

arasfsr_status check_scatter(const void* z, const float* lr_map, const float* rel) {
    return check_pointers({{"z", z, true}, {"lr_map", lr_map, true}, {"rel", rel, true}});
}

arasfsr_status check_weight_gradients(const void* z, const float* weights, const double* biases) {
    return check_pointers({{"z", z, true}, {"weights", weights, true}, {"biases", biases, true}});
}

}  // namespace arasfsr
