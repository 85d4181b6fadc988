// The backward kernels in the emulation against the plain backward over the same kept activations.
#include "check.h"
#include "model.h"

using namespace tests;

namespace {

Gradients found(const Model& model, const Kept& kept, bool share) {
    Gradients result(model, kept, share);
    const arasfsr_status status = result.fill(model, kept);
    CHECK_CASE(status.code == ARASFSR_OK, model.given.name + ", " + status.what);
    return result;
}

bool same(const Gradients& a, const Gradients& b) {
    return a.z.bytes() == b.z.bytes() && a.s.values() == b.s.values() && a.combined.values() == b.combined.values();
}

std::vector<double> rows_of_z(const Model& model, const Kept& kept, const Gradients& given) {
    return in_rows(model, given.z, kept.rows);
}

// Over z as it was found: sums of the same numbers.
void the_first_layer_is_scattered(const Model& model, const Kept& kept, const Gradients& given) {
    const arasfsr_problem& problem = model.problem;
    const int np = problem.padded, n = problem.width;
    const int64_t blocks = problem.images * kept.kept.tiles;
    const int64_t images = problem.per_image ? problem.queries / problem.per_image : problem.images;
    const int64_t cells = images * problem.lr_height * problem.lr_width;
    const Buffer<float> latent(cells * n), rel(blocks * 2 * np);
    for (size_t i = 0; i < latent.size(); ++i) latent[i] = 1.0f;
    const arasfsr_status status =
        arasfsr_scatter(&problem, &kept.kept, given.z.data(), latent.data(), rel.data());
    CHECK_CASE(status.code == ARASFSR_OK, model.given.name + ", " + status.what);

    std::vector<double> right(latent.size(), 1.0), right_rel(2 * np), found_rel(2 * np);
    for (int64_t row = 0; row < kept.rows; ++row) {
        for (int i = 0; i < np; ++i) {
            const double z = given.z[row * np + i];
            if (i < n) right[kept.cells[row] * n + i] += z;
            for (int axis = 0; axis < 2; ++axis) right_rel[axis * np + i] += z * kept.rel[2 * row + axis];
        }
    }
    for (size_t i = 0; i < rel.size(); ++i) found_rel[i % (2 * np)] += rel[i];
    const std::vector<float> values = latent.values();
    const double error = check::relative_error(std::vector<double>(values.begin(), values.end()), right);
    CHECK_CASE(error < 1e-6 && check::relative_error(found_rel, right_rel) < 1e-6, model.given.name);
}

// Where there is a kernel for it: sums over all rows of the same numbers, added to what was there.
void weights_gradients_are_sums_over_rows(const Model& model, const Kept& kept, const Gradients& given) {
    const arasfsr_problem& problem = model.problem;
    const bool streams = getenv("ARASFSR_EMULATION_CAPABILITY") && problem.padded == 256 && problem.layers > 1;
    int64_t splits = -1;
    CHECK_CASE(arasfsr_weight_splits(&problem, &splits).code == ARASFSR_OK, model.given.name);
    CHECK_CASE((splits > 0) == (streams && problem.modulated && problem.dtype != ARASFSR_TF32), model.given.name);
    if (splits == 0) return;

    splits = problem.images > 1 ? 1 : 3;  // few rows, or so many that places in shared memory are used again
    const size_t np = problem.padded, hidden = problem.layers - 1, matrix = np * np;
    const Buffer<float> weights(splits * hidden * 2 * matrix);
    const Buffer<double> biases(splits * hidden * np);
    for (size_t i = 0; i < weights.size(); ++i) weights[i] = 0.5f;
    for (size_t i = 0; i < biases.size(); ++i) biases[i] = 0.25;
    const arasfsr_status status = arasfsr_weight_gradients(
        &problem, &kept.kept, given.z.data(), weights.data(), biases.data(), splits);
    CHECK_CASE(status.code == ARASFSR_OK, model.given.name + ", " + status.what);

    std::vector<double> found(hidden * 2 * matrix), found_bias(hidden * np);
    for (size_t i = 0; i < weights.size(); ++i) found[i % found.size()] += weights[i] - 0.5;
    for (size_t i = 0; i < biases.size(); ++i) found_bias[i % found_bias.size()] += biases[i] - 0.25;
    std::vector<double> right(found.size()), right_bias(found_bias.size());
    std::vector<double> inputs(2 * np);
    const std::vector<double> rows = rows_of_z(model, kept, given), all_f = in_rows(model, kept.f, 0);
    for (size_t layer = 0; layer < hidden; ++layer) {
        for (int64_t row = 0; row < kept.rows; ++row) {
            const int64_t query = row / 4 % (kept.kept.tiles * ARASFSR_TILE);
            for (size_t i = 0; i < np; ++i) {
                const double f = all_f[(layer * kept.rows + row) * np + i];
                inputs[i] = f;
                inputs[np + i] =
                    rounded_to(problem.dtype, f * kept.s[(layer * kept.kept.tiles * ARASFSR_TILE + query) * np + i]);
            }
            for (size_t o = 0; o < np; ++o) {
                const double z = rows[((layer + 1) * kept.rows + row) * np + o];
                right_bias[layer * np + o] += z;
                if (z == 0) continue;
                for (int half = 0; half < 2; ++half) {
                    double* to = right.data() + ((layer * 2 + half) * np + o) * np;
                    for (size_t i = 0; i < np; ++i) to[i] += z * inputs[half * np + i];
                }
            }
        }
    }
    const double error = check::relative_error(found, right), of_bias = check::relative_error(found_bias, right_bias);
    std::printf("%-45s weights %.1e, biases %.1e\n", model.given.name.c_str(), error, of_bias);
    CHECK_CASE(error < 1e-5 && of_bias < 1e-5, model.given.name);  // of float32 sums
}

// Where there is a kernel for it: from the last layer to the first, angles' gradients rounded where it rounds them.
void angles_follow_from_what_s_was_given(const Model& model, const Kept& kept, const Gradients& given) {
    const arasfsr_problem& problem = model.problem;
    int64_t splits = 0;
    CHECK_CASE(arasfsr_weight_splits(&problem, &splits).code == ARASFSR_OK, model.given.name);
    size_t bytes = 0;
    const arasfsr_status scratch_status = arasfsr_coordinate_scratch(&problem, &bytes);
    CHECK_CASE(scratch_status.code == (splits > 0 ? ARASFSR_OK : ARASFSR_UNSUPPORTED), model.given.name);
    if (splits == 0) return;

    const std::vector<double> cosines = kept.cosines.values(), weights = model.modulator_weight.values();
    const Buffer<unsigned char> scratch(bytes);
    const arasfsr_status status =
        arasfsr_coordinate(&problem, &kept.kept, given.s.data(), scratch.or_null(), bytes);
    CHECK_CASE(status.code == ARASFSR_OK, model.given.name + ", " + status.what);
    const std::vector<double> found = kept.cosines.values();

    const size_t np = problem.padded, size = kept.kept.tiles * ARASFSR_TILE * np;
    std::vector<double> right(found.size());
    for (size_t i = right.size(); i-- > 0;) {
        const size_t layer = i / size, row = i % size / np * np, column = i % np;
        double of_s = given.s[i];
        for (size_t o = 0; o < np && layer + 1 < static_cast<size_t>(problem.layers); ++o) {
            of_s += right[(layer + 1) * size + row + o] * weights[(layer * np + o) * np + column];
        }
        right[i] = rounded_to(problem.dtype, of_s * cosines[i]);
    }
    const double error = check::relative_error(found, right);
    std::printf("%-45s angles %.1e\n", model.given.name.c_str(), error);
    CHECK_CASE(error < 1e-4, model.given.name);  // but for steps of the angles, float32 sums
}

void gradients_are_those_of_the_plain_backward(
    const Model& model, std::initializer_list<const char*> seeds = {"1", "2", "3"}) {
    const Kept kept(model, 3, model.problem.queries - 5);
    const arasfsr_status status = kept.fill(model);
    CHECK_CASE(status.code == ARASFSR_OK, model.given.name + ", " + status.what);
    const Gradients given = found(model, kept, true);
    const PlainGradients right(model, kept, given);

    const double z = check::relative_error(rows_of_z(model, kept, given), right.z);
    const double s = check::relative_error(given.s.values(), right.s);
    const double share = check::relative_error(given.share.values(), right.share);
    const double combined = check::relative_error(given.combined.values(), right.combined);
    std::printf("%-45s z %.1e, s %.1e, share %.1e, combined %.1e\n", model.given.name.c_str(), z, s, share, combined);
    CHECK_CASE(z < 1e-4 && s < 1e-4, model.given.name);  // but for steps of z, float32 sums
    CHECK_CASE(share < 1e-6 && combined < 1e-6, model.given.name);

    the_first_layer_is_scattered(model, kept, given);
    weights_gradients_are_sums_over_rows(model, kept, given);
    angles_follow_from_what_s_was_given(model, kept, given);

    CHECK_CASE(same(given, found(model, kept, false)), model.given.name);  // nobody asks for the shares'
    for (const char* seed : seeds) {
        setenv("ARASFSR_EMULATION_SEED", seed, 1);
        CHECK_CASE(same(given, found(model, kept, true)), model.given.name);
    }
    unsetenv("ARASFSR_EMULATION_SEED");
}

// Compute capability 9.0 has a kernel of its own for rows of 256, whatever of them is used, but not for TF32. One
// cluster takes turns here.
void newer_kernel_gives_the_same(Case given) {
    given.name += ", 9.0";
    given.padded = 256;
    const Model model(given);
    setenv("ARASFSR_EMULATION_CAPABILITY", "90", 1);
    setenv("ARASFSR_EMULATION_PROCESSORS", "2", 1);
    size_t bytes = 0;
    CHECK_CASE(arasfsr_backward_scratch(&model.problem, &bytes).code == ARASFSR_OK, given.name);
    CHECK_CASE((bytes > 0) == (given.layers > 1 && given.dtype != ARASFSR_TF32), given.name);
    gradients_are_those_of_the_plain_backward(model, {"1"});
    unsetenv("ARASFSR_EMULATION_PROCESSORS");
    unsetenv("ARASFSR_EMULATION_CAPABILITY");
}

}  // namespace

int main() {
    for (const Case& each : cases()) {
        const Model model(each);
        gradients_are_those_of_the_plain_backward(model);
        newer_kernel_gives_the_same(each);
        if (each.padded == 256 && each.dtype != ARASFSR_TF32) {
            setenv("ARASFSR_EMULATION_SHARED", "101376", 1);
            gradients_are_those_of_the_plain_backward(model);
            unsetenv("ARASFSR_EMULATION_SHARED");
        }
    }
    return check::report("backward");
}
