// Buffers of the backward, and the backward of the content branch in double.
#include <algorithm>

#include "model.h"

namespace tests {

std::vector<double> in_rows(const Model& model, const Numbers& kept, int64_t first) {
    int64_t splits = 0;
    std::vector<double> result = kept.values();
    if (arasfsr_weight_splits(&model.problem, &splits).code != ARASFSR_OK || splits == 0) return result;
    const size_t np = model.problem.padded;
    for (size_t i = first * np; i < result.size(); ++i) {
        const size_t row = i / np, column = i % np;
        const size_t at = column / 64 * 64 * 64 + row % 64 * 64 + (column % 64 / 8 ^ row % 8) * 8 + column % 8;
        result[i] = kept[row / 64 * 64 * np + at];
    }
    return result;
}

Kept::Kept(const Model& model, int64_t first, int64_t count) {
    const arasfsr_problem& problem = model.problem;
    const int64_t tiles = (count + ARASFSR_TILE - 1) / ARASFSR_TILE, padded_queries = tiles * ARASFSR_TILE;
    const size_t layers = problem.layers, np = problem.padded;
    rows = problem.images * padded_queries * 4;
    f = Numbers(problem.dtype, layers * rows * np);
    s = Numbers(problem.dtype, problem.modulated ? layers * padded_queries * np : 0);
    cosines = Numbers(problem.dtype, s.size());
    lr_rows = Buffer<int64_t>(rows);
    rel = Buffer<float>(2 * rows);
    share = Buffer<float>(rows);
    kept = {first,          count,        tiles,       f.data(),     s.or_null(),
            cosines.or_null(), lr_rows.data(), rel.data(), share.data()};
}

arasfsr_status Kept::fill(const Model& model) const {
    size_t bytes = 0;
    const arasfsr_status status = arasfsr_keep_scratch(&model.problem, &bytes);
    if (status.code != ARASFSR_OK) return status;
    const Buffer<unsigned char> scratch(bytes);
    return arasfsr_keep(&model.problem, &kept, scratch.or_null(), bytes);
}

Gradients::Gradients(const Model& model, const Kept& kept, bool with_share) {
    const arasfsr_problem& problem = model.problem;
    const size_t padded_queries = static_cast<size_t>(kept.kept.tiles) * ARASFSR_TILE;
    grad = Buffer<float>(static_cast<size_t>(problem.images * problem.queries) * 3);
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < grad.size(); ++i) grad[i] = normal(random);
    z = Numbers(problem.dtype, kept.f.size());
    s = Buffer<float>(kept.s.size());
    share = Buffer<float>(with_share ? kept.rows : 0);
    combined = Buffer<float>(problem.images * padded_queries * problem.padded);
    gradients = {grad.data(), z.data(), s.or_null(), share.or_null(), combined.data()};
}

arasfsr_status Gradients::fill(const Model& model, const Kept& kept) const {
    size_t bytes = 0;
    const arasfsr_status status = arasfsr_backward_scratch(&model.problem, &bytes);
    if (status.code != ARASFSR_OK) return status;
    const Buffer<unsigned char> scratch(bytes);
    return arasfsr_backward(&model.problem, &kept.kept, &gradients, scratch.or_null(), bytes);
}

PlainGradients::PlainGradients(const Model& model, const Kept& kept, const Gradients& gradients) {
    const arasfsr_problem& problem = model.problem;
    const int np = problem.padded, layers = problem.layers, halves = problem.modulated ? 2 : 1;
    const int64_t padded_queries = kept.kept.tiles * ARASFSR_TILE;
    const std::vector<double> f = in_rows(model, kept.f, 0), s_kept = kept.s.values();
    const std::vector<double> weights = model.content_weight.values();
    z.assign(f.size(), 0);
    s.assign(s_kept.size(), 0);
    share.assign(kept.rows, 0);
    combined.assign(problem.images * padded_queries * np, 0);
    const auto rounded = [&](double x) { return rounded_to(problem.dtype, x); };

    for (int64_t row = 0; row < kept.rows; ++row) {
        const int64_t query = row / 4 % padded_queries, image = row / 4 / padded_queries;
        const auto at = [&](int layer) { return (static_cast<int64_t>(layer) * kept.rows + row) * np; };
        const auto at_s = [&](int layer) { return (layer * padded_queries + query) * np; };
        const double corner_share = kept.share[row];
        for (int i = 0; i < np; ++i) {
            double gradient = 0;
            for (int channel = 0; channel < 3 && query < kept.kept.count; ++channel) {
                gradient += gradients.grad[(image * problem.queries + kept.kept.first + query) * 3 + channel] *
                            static_cast<double>(problem.output_weight[channel * np + i]);
            }
            const double activation = f[at(layers - 1) + i];
            const double modulation = problem.modulated ? s_kept[at_s(layers - 1) + i] : 1.0;
            combined[(image * padded_queries + query) * np + i] += corner_share * activation * modulation;
            if (problem.modulated) s[at_s(layers - 1) + i] += corner_share * activation * gradient;
            gradient *= modulation;
            share[row] += gradient * activation;
            z[at(layers - 1) + i] = activation > 0 ? rounded(gradient * corner_share) : 0;
        }
        for (int layer = layers - 2; layer >= 0; --layer) {
            const double* matrix = weights.data() + size_t(layer) * halves * np * np;
            for (int i = 0; i < np; ++i) {
                double of_f = 0, of_product = 0;
                for (int k = 0; k < np; ++k) {
                    of_f += z[at(layer + 1) + k] * matrix[k * np + i];
                    if (problem.modulated) of_product += z[at(layer + 1) + k] * matrix[np * np + k * np + i];
                }
                const double activation = f[at(layer) + i];
                if (problem.modulated) {
                    s[at_s(layer) + i] += of_product * activation;
                    of_f += of_product * s_kept[at_s(layer) + i];
                }
                z[at(layer) + i] = activation > 0 ? rounded(of_f) : 0;
            }
        }
    }
}

}  // namespace tests
