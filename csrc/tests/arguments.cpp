// The checks of the C API: a status names the argument and its value.
#include <cstdlib>
#include <cstring>

#include "check.h"
#include "model.h"

using namespace tests;

namespace {

bool is(const arasfsr_status& status, int code, const char* what, int64_t value) {
    const bool same = status.code == code && std::strcmp(status.what, what) == 0 && status.value == value;
    if (!same) std::printf("got %d %s %lld\n", status.code, status.what, static_cast<long long>(status.value));
    return same;
}

arasfsr_status render(const arasfsr_problem& problem, float* out, size_t bytes = 1 << 20) {
    static const Buffer<unsigned char> scratch(1 << 20);
    return arasfsr_render(&problem, out, scratch.data(), bytes);
}

template <class Field, class Value>
arasfsr_status with(const Model& model, Field arasfsr_problem::*field, Value value) {
    arasfsr_problem problem = model.problem;
    problem.*field = static_cast<Field>(value);
    return arasfsr_supports(&problem);
}

template <class Field>
arasfsr_status rendered_with(const Model& model, Field arasfsr_problem::*field, Field value) {
    static const Buffer<float> out(1 << 12);
    arasfsr_problem problem = model.problem;
    problem.*field = value;
    return render(problem, out.data());
}

void sizes_are_checked(const Model& model) {
    using P = arasfsr_problem;
    CHECK(is(arasfsr_supports(nullptr), ARASFSR_BAD_ARGUMENT, "problem", 0));
    CHECK(is(with(model, &P::abi, 99), ARASFSR_BAD_ARGUMENT, "abi", 99));
    CHECK(is(with(model, &P::dtype, 3), ARASFSR_BAD_ARGUMENT, "dtype", 3));
    CHECK(is(with(model, &P::layers, 0), ARASFSR_BAD_ARGUMENT, "layers", 0));
    CHECK(is(with(model, &P::layers, 9), ARASFSR_UNSUPPORTED, "layers", 9));
    CHECK(is(with(model, &P::width, 0), ARASFSR_BAD_ARGUMENT, "width", 0));
    CHECK(is(with(model, &P::padded, 32), ARASFSR_BAD_ARGUMENT, "padded", 32));  // less than the width
    CHECK(is(with(model, &P::modulated, 2), ARASFSR_BAD_ARGUMENT, "modulated", 2));
    CHECK(is(with(model, &P::lr_height, 0), ARASFSR_BAD_ARGUMENT, "lr_height", 0));
    CHECK(is(with(model, &P::lr_width, 1 << 23), ARASFSR_UNSUPPORTED, "lr_width", 1 << 23));
    CHECK(is(with(model, &P::images, -1), ARASFSR_BAD_ARGUMENT, "images", -1));
    CHECK(is(with(model, &P::queries, -1), ARASFSR_BAD_ARGUMENT, "queries", -1));
    CHECK(is(with(model, &P::per_image, -5), ARASFSR_BAD_ARGUMENT, "per_image", -5));
    CHECK(is(with(model, &P::region_width, 0), ARASFSR_BAD_ARGUMENT, "region_width", 0));
    CHECK(is(with(model, &P::region_left, 8), ARASFSR_BAD_ARGUMENT, "region_width", 10));  // of a grid 13 wide
    CHECK(is(with(model, &P::region_top, 8), ARASFSR_BAD_ARGUMENT, "queries", 10));        // rows, of a grid 15 high
}

void queries_of_each_image_cannot_be_a_grid(const Model& model) {
    arasfsr_problem problem = model.problem;
    problem.per_image = 10;
    CHECK(is(arasfsr_supports(&problem), ARASFSR_BAD_ARGUMENT, "grid_height", problem.grid_height));
    problem.images = 2;
    CHECK(is(arasfsr_supports(&problem), ARASFSR_BAD_ARGUMENT, "images", 2));
}

void padded_widths_without_a_kernel_are_named(const Model& model) {
    CHECK(is(with(model, &arasfsr_problem::padded, 512), ARASFSR_UNSUPPORTED, "padded", 512));
    CHECK(is(with(model, &arasfsr_problem::padded, 96), ARASFSR_UNSUPPORTED, "padded", 96));
}

void pointers_are_checked(const Model& model) {
    using P = arasfsr_problem;
    CHECK(is(rendered_with<const float*>(model, &P::lr_map, nullptr), ARASFSR_BAD_ARGUMENT, "lr_map", 0));
    CHECK(is(rendered_with(model, &P::lr_map, model.problem.lr_map + 1), ARASFSR_BAD_ARGUMENT, "lr_map", 4));
    CHECK(is(rendered_with<const void*>(model, &P::encoding_weight, nullptr), ARASFSR_BAD_ARGUMENT, "encoding_weight",
             0));
    CHECK(is(render(model.problem, nullptr), ARASFSR_BAD_ARGUMENT, "out", 0));
    const Buffer<float> out(1 << 12);
    CHECK(is(render(model.problem, out.data(), 16), ARASFSR_BAD_ARGUMENT, "scratch_bytes", 16));
    arasfsr_problem problem = model.problem;
    problem.grid_height = 0;
    CHECK(is(render(problem, out.data()), ARASFSR_BAD_ARGUMENT, "coord", 0));
}

void chunks_are_checked(const Model& model) {
    const int64_t queries = model.problem.queries;
    Kept buffers(model, 0, queries);
    CHECK(is(arasfsr_keep(&model.problem, nullptr, nullptr, 0), ARASFSR_BAD_ARGUMENT, "kept", 0));
    arasfsr_kept kept = buffers.kept;
    kept.first = 1;
    CHECK(is(arasfsr_keep(&model.problem, &kept, nullptr, 0), ARASFSR_BAD_ARGUMENT, "count", queries));
    kept = buffers.kept;
    kept.tiles = 1;
    CHECK(is(arasfsr_keep(&model.problem, &kept, nullptr, 0), ARASFSR_BAD_ARGUMENT, "tiles", 1));
    kept = buffers.kept;
    kept.cosines = nullptr;
    CHECK(is(arasfsr_keep(&model.problem, &kept, nullptr, 0), ARASFSR_BAD_ARGUMENT, "cosines", 0));
    const auto backward = [&](const arasfsr_gradients* gradients) {
        return arasfsr_backward(&model.problem, &buffers.kept, gradients, nullptr, 0);
    };
    CHECK(is(backward(nullptr), ARASFSR_BAD_ARGUMENT, "gradients", 0));
    const Gradients all(model, buffers, false);
    arasfsr_gradients gradients = all.gradients;
    gradients.combined = nullptr;
    CHECK(is(backward(&gradients), ARASFSR_BAD_ARGUMENT, "combined", 0));
    const Buffer<float> sums(16);
    CHECK(is(arasfsr_scatter(&model.problem, &buffers.kept, all.z.data(), nullptr, sums.data()), ARASFSR_BAD_ARGUMENT,
             "lr_map", 0));
}

void empty_problems_succeed(const Model& model) {
    arasfsr_problem problem = model.problem;
    problem.queries = 0;
    size_t bytes = 1;
    CHECK(arasfsr_render_scratch(&problem, &bytes).code == ARASFSR_OK && bytes == 0);
    CHECK(arasfsr_render(&problem, nullptr, nullptr, 0).code == ARASFSR_OK);
    const arasfsr_kept kept{};
    CHECK(arasfsr_keep(&problem, &kept, nullptr, 0).code == ARASFSR_OK);
    problem = model.problem;
    problem.images = 0;
    CHECK(arasfsr_render(&problem, nullptr, nullptr, 0).code == ARASFSR_OK);
}

void a_turn_is_at_least_one_tile(const Model& model) {
    int64_t tiles = 0;
    CHECK(is(arasfsr_turn(&model.problem, nullptr), ARASFSR_BAD_ARGUMENT, "tiles", 0));
    CHECK(arasfsr_turn(&model.problem, &tiles).code == ARASFSR_OK && tiles > 0);
}

void scratch_is_bounded(const Model& model) {
    arasfsr_problem problem = model.problem;
    problem.grid_height = 0;
    size_t some = 0, many = 0;
    problem.queries = 1000;
    CHECK(arasfsr_render_scratch(&problem, &some).code == ARASFSR_OK);
    problem.queries = int64_t{1} << 40;
    CHECK(arasfsr_render_scratch(&problem, &many).code == ARASFSR_OK);
    CHECK(some == many && some > 0);
}

// Kernels that stream their weights need scratch for them.
void scratch_for_streams_is_checked() {
    Case config;
    config.padded = 256;
    const Model model(config);
    const Kept buffers(model, 0, model.problem.queries);
    size_t bytes = 1;
    CHECK(arasfsr_keep_scratch(&model.problem, &bytes).code == ARASFSR_OK && bytes == 0);
    setenv("ARASFSR_EMULATION_CAPABILITY", "90", 1);
    CHECK(arasfsr_keep_scratch(&model.problem, &bytes).code == ARASFSR_OK && bytes > 0);
    CHECK(is(arasfsr_keep(&model.problem, &buffers.kept, nullptr, 5), ARASFSR_BAD_ARGUMENT, "scratch_bytes", 5));
    CHECK(is(arasfsr_keep(&model.problem, &buffers.kept, nullptr, bytes), ARASFSR_BAD_ARGUMENT, "scratch", 0));
    CHECK(is(arasfsr_keep_scratch(&model.problem, nullptr), ARASFSR_BAD_ARGUMENT, "bytes", 0));
    const Gradients all(model, buffers, false);
    CHECK(is(arasfsr_backward(&model.problem, &buffers.kept, &all.gradients, nullptr, 5), ARASFSR_BAD_ARGUMENT,
             "scratch_bytes", 5));
    unsetenv("ARASFSR_EMULATION_CAPABILITY");
}

}  // namespace

int main() {
    const Model model(Case{});
    CHECK(arasfsr_abi() == ARASFSR_ABI);
    CHECK(std::strlen(arasfsr_architectures()) > 0);
    sizes_are_checked(model);
    queries_of_each_image_cannot_be_a_grid(model);
    const arasfsr_status status = arasfsr_supports(&model.problem);
    if (status.code != ARASFSR_OK) {  // a build for GPUs on a machine without one
        std::printf("not checked further: %s %lld\n", status.what, static_cast<long long>(status.value));
        CHECK(status.code == ARASFSR_CUDA_ERROR && status.value != 0);
        return check::report("arguments");
    }
    padded_widths_without_a_kernel_are_named(model);
    pointers_are_checked(model);
    chunks_are_checked(model);
    if (std::strcmp(arasfsr_architectures(), "emulated") == 0) scratch_for_streams_is_checked();
    empty_problems_succeed(model);
    a_turn_is_at_least_one_tile(model);
    scratch_is_bounded(model);
    return check::report("arguments");
}
