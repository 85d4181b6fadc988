// The forward kernels in the emulation against the plain decoder: the picture, and every activation that is kept.
#include <cstring>

#include "check.h"
#include "model.h"

using namespace tests;

namespace {

// Rounding where the kernels round, the plain decoder differs by the order of float32 sums, and where a sum lies
// between two numbers of the format by one of their steps; without, by all roundings.
struct Bounds {
    double rounded, exact;
};

Bounds bounds(const Case& given) {
    if (given.dtype == ARASFSR_BFLOAT16) return {2e-4, 6e-3};
    // a step in the first of eight layers moves all that follow, as far as roundings do; in TF32 this case has one
    const bool spreads = given.dtype == ARASFSR_TF32 && given.layers == 8;
    return {spreads ? 8e-4 : 2e-4, 8e-4};
}

std::vector<float> render(const Model& model) {
    size_t bytes = 0;
    arasfsr_status status = arasfsr_render_scratch(&model.problem, &bytes);
    CHECK_CASE(status.code == ARASFSR_OK, model.given.name + ", " + status.what);
    const Buffer<unsigned char> scratch(bytes);
    const Buffer<float> out(static_cast<size_t>(model.problem.images * model.problem.queries) * 3);
    status = arasfsr_render(&model.problem, out.data(), scratch.or_null(), bytes);
    CHECK_CASE(status.code == ARASFSR_OK, model.given.name + ", " + status.what);
    return out.values();
}

std::vector<float> picture_is_that_of_the_plain_decoder(const Model& model) {
    const std::vector<float> given = render(model);
    const double rounded = check::relative_error(given, model.render(true));
    const double exact = check::relative_error(given, model.render(false));
    const Bounds most = bounds(model.given);
    std::printf("%-45s %.1e of rounded, %.1e of exact arithmetic\n", model.given.name.c_str(), rounded, exact);
    CHECK_CASE(rounded < most.rounded, model.given.name);
    CHECK_CASE(exact < most.exact, model.given.name);
    return given;
}

void schedule_changes_nothing(const Model& model, std::initializer_list<const char*> seeds = {"1", "2", "3"}) {
    const std::vector<float> once = render(model);
    const Kept kept(model, 0, model.problem.queries), kept_again(model, 0, model.problem.queries);
    CHECK_CASE(kept.fill(model).code == ARASFSR_OK, model.given.name);
    for (const char* seed : seeds) {
        setenv("ARASFSR_EMULATION_SEED", seed, 1);
        const std::vector<float> again = render(model);
        CHECK_CASE(std::memcmp(once.data(), again.data(), once.size() * sizeof(float)) == 0, model.given.name);
        CHECK_CASE(kept_again.fill(model).code == ARASFSR_OK, model.given.name);
        CHECK_CASE(kept.f.bytes() == kept_again.f.bytes(), model.given.name);
        CHECK_CASE(kept.s.bytes() == kept_again.s.bytes(), model.given.name);
    }
    unsetenv("ARASFSR_EMULATION_SEED");
}

void number_of_blocks_changes_nothing(const Model& model) {
    const std::vector<float> once = render(model);
    setenv("ARASFSR_EMULATION_PROCESSORS", "1", 1);
    CHECK_CASE(once == render(model), model.given.name);
    unsetenv("ARASFSR_EMULATION_PROCESSORS");
}

// What is kept of a chunk that starts and ends inside the queries.
void kept_activations_are_those_of_the_plain_decoder(const Model& model) {
    const arasfsr_problem& problem = model.problem;
    const int64_t first = 3, count = problem.queries - 5, padded = (count + ARASFSR_TILE - 1) / ARASFSR_TILE * 64;
    const int np = problem.padded, n = problem.width;
    const Kept kept(model, first, count);
    const arasfsr_status status = kept.fill(model);
    CHECK_CASE(status.code == ARASFSR_OK, model.given.name + ", " + status.what);

    std::vector<double> f, f_right, s, s_right, geometry, geometry_right;
    const std::vector<double> all_f = in_rows(model, kept.f, 0), all_s = kept.s.values();
    const std::vector<double> all_cosines = kept.cosines.values();
    for (int which = 0; which < problem.images; ++which) {
        for (int64_t query = 0; query < count; ++query) {
            const int64_t number = first + query;
            const bool own = problem.per_image > 0;
            const Trace right = model.trace(own ? static_cast<int>(number / problem.per_image) : which,
                                            own ? number % problem.per_image : number, true);
            for (int v = 0; v < 4; ++v) {
                const int64_t row = (which * padded + query) * 4 + v;
                CHECK_CASE(kept.cells[row] == right.cell[v], model.given.name);
                geometry.insert(geometry.end(), {kept.rel[2 * row], kept.rel[2 * row + 1], kept.share[row]});
                geometry_right.insert(geometry_right.end(), {right.rel[v][0], right.rel[v][1], right.share[v]});
                for (int layer = 0; layer < problem.layers; ++layer) {
                    const double* start = all_f.data() + (layer * kept.rows + row) * np;
                    f.insert(f.end(), start, start + n);
                    f_right.insert(f_right.end(), right.f[v][layer].begin(), right.f[v][layer].end());
                    for (int i = n; i < np; ++i) CHECK_CASE(start[i] == 0, model.given.name);
                }
            }
            for (int layer = 0; layer < problem.layers && problem.modulated; ++layer) {
                const int64_t at = (layer * padded + query) * np;
                s.insert(s.end(), all_s.begin() + at, all_s.begin() + at + n);
                s.insert(s.end(), all_cosines.begin() + at, all_cosines.begin() + at + n);
                s_right.insert(s_right.end(), right.s[layer].begin(), right.s[layer].end());
                s_right.insert(s_right.end(), right.cosines[layer].begin(), right.cosines[layer].end());
            }
        }
    }
    const Bounds most = bounds(model.given);
    CHECK_CASE(check::relative_error(f, f_right) < most.rounded, model.given.name);
    CHECK_CASE(check::relative_error(s, s_right) < most.rounded, model.given.name);
    CHECK_CASE(check::relative_error(geometry, geometry_right) < 1e-5, model.given.name);
    for (double value : all_f) CHECK_CASE(std::isfinite(value), model.given.name);
}

// In 100 KB of shared memory there is no kernel for rows of 256 in TF32.
void less_memory_is_too_little(const Model& model) {
    size_t bytes = 0;
    const arasfsr_status status = arasfsr_render_scratch(&model.problem, &bytes);
    CHECK_CASE(status.code == ARASFSR_UNSUPPORTED && status.value == 101376, model.given.name);
    CHECK_CASE(std::strcmp(status.what, "shared memory") == 0, model.given.name);
}

// Compute capability 9.0 has a kernel of its own for rows of 256, whatever of them is used, but not for TF32.
void newer_kernel_gives_the_same(const Case& of) {
    Case given = of;
    given.name += ", 9.0";
    given.padded = 256;
    const Model model(given);
    size_t portable = 0, streaming = 0;
    CHECK_CASE(arasfsr_render_scratch(&model.problem, &portable).code == ARASFSR_OK, given.name);
    setenv("ARASFSR_EMULATION_CAPABILITY", "90", 1);
    CHECK_CASE(arasfsr_render_scratch(&model.problem, &streaming).code == ARASFSR_OK, given.name);
    CHECK_CASE((portable > 0) == given.modulated, given.name);
    const bool streams = given.dtype != ARASFSR_TF32 && (given.layers > 1 || given.modulated);
    CHECK_CASE(streams ? streaming > portable : streaming == portable, given.name);
    picture_is_that_of_the_plain_decoder(model);
    kept_activations_are_those_of_the_plain_decoder(model);
    schedule_changes_nothing(model, {"1"});
    unsetenv("ARASFSR_EMULATION_CAPABILITY");
}

// A consumer of its takes tile after tile, where one cluster has more of them than it takes at a time.
void newer_kernel_takes_turns() {
    Case given;
    given.name = "turns, 9.0";
    given.layers = 1;
    given.padded = 256;
    given.queries = 6 * ARASFSR_TILE - 10;
    const Model model(given);
    setenv("ARASFSR_EMULATION_CAPABILITY", "90", 1);
    setenv("ARASFSR_EMULATION_PROCESSORS", "2", 1);
    picture_is_that_of_the_plain_decoder(model);
    kept_activations_are_those_of_the_plain_decoder(model);
    schedule_changes_nothing(model, {"1", "2"});
    unsetenv("ARASFSR_EMULATION_PROCESSORS");
    unsetenv("ARASFSR_EMULATION_CAPABILITY");
}

}  // namespace

int main() {
    newer_kernel_takes_turns();
    for (const Case& each : cases()) {
        const Model model(each);
        picture_is_that_of_the_plain_decoder(model);
        kept_activations_are_those_of_the_plain_decoder(model);
        schedule_changes_nothing(model);
        number_of_blocks_changes_nothing(model);
        newer_kernel_gives_the_same(each);
        if (each.padded == 256) {  // a device with less shared memory gets another kernel
            setenv("ARASFSR_EMULATION_SHARED", "101376", 1);
            if (each.dtype == ARASFSR_TF32) {
                less_memory_is_too_little(model);
            } else {
                picture_is_that_of_the_plain_decoder(model);
                kept_activations_are_those_of_the_plain_decoder(model);
                schedule_changes_nothing(model);
            }
            unsetenv("ARASFSR_EMULATION_SHARED");
        }
    }
    return check::report("forward");
}
