// The forward kernels in the emulation against the plain decoder: the output, and every kept activation.
#include <cstring>

#include "check.h"
#include "model.h"

using namespace tests;

namespace {

// The largest relative errors. A plain decoder that rounds where the kernels round differs by the order of float32
// sums, and by a unit in the last place where a sum lies between two numbers of the format; one without rounding
// differs by all roundings.
struct Bounds {
    double rounded, exact;
};

Bounds bounds(const Case& config) {
    if (config.dtype == ARASFSR_BFLOAT16) return {2e-4, 6e-3};
    // such a unit in the first of eight layers changes all later ones as much as rounding; it occurs in TF32
    const bool spreads = config.dtype == ARASFSR_TF32 && config.layers == 8;
    return {spreads ? 8e-4 : 2e-4, 8e-4};
}

std::vector<float> render(const Model& model) {
    size_t bytes = 0;
    arasfsr_status status = arasfsr_render_scratch(&model.problem, &bytes);
    CHECK_CASE(status.code == ARASFSR_OK, model.config.name + ", " + status.what);
    const Buffer<unsigned char> scratch(bytes);
    const Buffer<float> out(static_cast<size_t>(model.problem.images * model.problem.queries) * 3);
    status = arasfsr_render(&model.problem, out.data(), scratch.or_null(), bytes);
    CHECK_CASE(status.code == ARASFSR_OK, model.config.name + ", " + status.what);
    return out.values();
}

std::vector<float> picture_is_that_of_the_plain_decoder(const Model& model) {
    const std::vector<float> actual = render(model);
    const double rounded = check::relative_error(actual, model.render(true));
    const double exact = check::relative_error(actual, model.render(false));
    const Bounds most = bounds(model.config);
    std::printf("%-45s %.1e of rounded, %.1e of exact arithmetic\n", model.config.name.c_str(), rounded, exact);
    CHECK_CASE(rounded < most.rounded, model.config.name);
    CHECK_CASE(exact < most.exact, model.config.name);
    return actual;
}

void schedule_changes_nothing(const Model& model, std::initializer_list<const char*> seeds = {"1", "2", "3"}) {
    const std::vector<float> once = render(model);
    const Kept kept(model, 0, model.problem.queries), kept_again(model, 0, model.problem.queries);
    CHECK_CASE(kept.fill(model).code == ARASFSR_OK, model.config.name);
    for (const char* seed : seeds) {
        setenv("ARASFSR_EMULATION_SEED", seed, 1);
        const std::vector<float> again = render(model);
        CHECK_CASE(std::memcmp(once.data(), again.data(), once.size() * sizeof(float)) == 0, model.config.name);
        CHECK_CASE(kept_again.fill(model).code == ARASFSR_OK, model.config.name);
        CHECK_CASE(kept.f.bytes() == kept_again.f.bytes(), model.config.name);
        CHECK_CASE(kept.s.bytes() == kept_again.s.bytes(), model.config.name);
    }
    unsetenv("ARASFSR_EMULATION_SEED");
}

void number_of_blocks_changes_nothing(const Model& model) {
    const std::vector<float> once = render(model);
    setenv("ARASFSR_EMULATION_PROCESSORS", "1", 1);
    CHECK_CASE(once == render(model), model.config.name);
    unsetenv("ARASFSR_EMULATION_PROCESSORS");
}

// Of a chunk that starts and ends inside the queries.
void kept_activations_are_those_of_the_plain_decoder(const Model& model) {
    const arasfsr_problem& problem = model.problem;
    const int64_t first = 3, count = problem.queries - 5;
    const int64_t padded_queries = (count + ARASFSR_TILE - 1) / ARASFSR_TILE * ARASFSR_TILE;
    const int np = problem.padded, n = problem.width;
    const Kept kept(model, first, count);
    const arasfsr_status status = kept.fill(model);
    CHECK_CASE(status.code == ARASFSR_OK, model.config.name + ", " + status.what);

    std::vector<double> f, f_expected, s, s_expected, geometry, geometry_expected;
    const std::vector<double> all_f = in_rows(model, kept.f, 0), all_s = kept.s.values();
    const std::vector<double> all_cosines = kept.cosines.values();
    for (int image_index = 0; image_index < problem.images; ++image_index) {
        for (int64_t query = 0; query < count; ++query) {
            const int64_t query_index = first + query;
            const bool per_image = problem.per_image > 0;
            const Trace expected =
                model.trace(per_image ? static_cast<int>(query_index / problem.per_image) : image_index,
                            per_image ? query_index % problem.per_image : query_index, true);
            for (int v = 0; v < 4; ++v) {
                const int64_t row = (image_index * padded_queries + query) * 4 + v;
                CHECK_CASE(kept.lr_rows[row] == expected.lr_row[v], model.config.name);
                geometry.insert(geometry.end(), {kept.rel[2 * row], kept.rel[2 * row + 1], kept.share[row]});
                geometry_expected.insert(geometry_expected.end(),
                                         {expected.rel[v][0], expected.rel[v][1], expected.share[v]});
                for (int layer = 0; layer < problem.layers; ++layer) {
                    const double* start = all_f.data() + (layer * kept.rows + row) * np;
                    f.insert(f.end(), start, start + n);
                    f_expected.insert(f_expected.end(), expected.f[v][layer].begin(), expected.f[v][layer].end());
                    for (int i = n; i < np; ++i) CHECK_CASE(start[i] == 0, model.config.name);
                }
            }
            for (int layer = 0; layer < problem.layers && problem.modulated; ++layer) {
                const int64_t at = (layer * padded_queries + query) * np;
                s.insert(s.end(), all_s.begin() + at, all_s.begin() + at + n);
                s.insert(s.end(), all_cosines.begin() + at, all_cosines.begin() + at + n);
                s_expected.insert(s_expected.end(), expected.s[layer].begin(), expected.s[layer].end());
                s_expected.insert(s_expected.end(), expected.cosines[layer].begin(), expected.cosines[layer].end());
            }
        }
    }
    const Bounds most = bounds(model.config);
    CHECK_CASE(check::relative_error(f, f_expected) < most.rounded, model.config.name);
    CHECK_CASE(check::relative_error(s, s_expected) < most.rounded, model.config.name);
    CHECK_CASE(check::relative_error(geometry, geometry_expected) < 1e-5, model.config.name);
    for (double value : all_f) CHECK_CASE(std::isfinite(value), model.config.name);
}

// There is no kernel for a padded width of 256 in TF32 with 100 KB of shared memory.
void too_little_shared_memory_is_unsupported(const Model& model) {
    size_t bytes = 0;
    const arasfsr_status status = arasfsr_render_scratch(&model.problem, &bytes);
    CHECK_CASE(status.code == ARASFSR_UNSUPPORTED && status.value == 101376, model.config.name);
    CHECK_CASE(std::strcmp(status.what, "shared memory") == 0, model.config.name);
}

// Compute capability 9.0 has another kernel for a padded width of 256, except for TF32.
void sm90_kernel_gives_the_same(const Case& base) {
    Case config = base;
    config.name += ", 9.0";
    config.padded = 256;
    const Model model(config);
    size_t portable = 0, streaming = 0;
    CHECK_CASE(arasfsr_render_scratch(&model.problem, &portable).code == ARASFSR_OK, config.name);
    setenv("ARASFSR_EMULATION_CAPABILITY", "90", 1);
    CHECK_CASE(arasfsr_render_scratch(&model.problem, &streaming).code == ARASFSR_OK, config.name);
    CHECK_CASE((portable > 0) == config.modulated, config.name);
    const bool streams = config.dtype != ARASFSR_TF32 && (config.layers > 1 || config.modulated);
    CHECK_CASE(streams ? streaming > portable : streaming == portable, config.name);
    picture_is_that_of_the_plain_decoder(model);
    kept_activations_are_those_of_the_plain_decoder(model);
    schedule_changes_nothing(model, {"1"});
    unsetenv("ARASFSR_EMULATION_CAPABILITY");
}

// A single cluster, with more tiles than it processes at the same time.
void sm90_kernel_processes_several_tiles() {
    Case config;
    config.name = "turns, 9.0";
    config.layers = 1;
    config.padded = 256;
    config.queries = 6 * ARASFSR_TILE - 10;
    const Model model(config);
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
    sm90_kernel_processes_several_tiles();
    for (const Case& each : cases()) {
        const Model model(each);
        picture_is_that_of_the_plain_decoder(model);
        kept_activations_are_those_of_the_plain_decoder(model);
        schedule_changes_nothing(model);
        number_of_blocks_changes_nothing(model);
        sm90_kernel_gives_the_same(each);
        if (each.padded == 256) {  // a device with less shared memory gets another kernel
            setenv("ARASFSR_EMULATION_SHARED", "101376", 1);
            if (each.dtype == ARASFSR_TF32) {
                too_little_shared_memory_is_unsupported(model);
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
