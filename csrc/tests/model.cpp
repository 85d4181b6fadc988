// The random problem, and the decoder forward in double.
#include "model.h"

#include <algorithm>
#include <cmath>

#include "../src/hw.h"

namespace tests {

using arasfsr::Bfloat16;
using arasfsr::Float16;

namespace {

float from_16(int dtype, uint16_t x) {
    return dtype == ARASFSR_BFLOAT16 ? arasfsr::hw::from_16(Bfloat16{}, x) : arasfsr::hw::from_16(Float16{}, x);
}

uint16_t to_16(int dtype, float x) {
    return dtype == ARASFSR_BFLOAT16 ? arasfsr::hw::to_16(Bfloat16{}, x) : arasfsr::hw::to_16(Float16{}, x);
}

}  // namespace

double rounded_to(int dtype, double x) {
    const float number = static_cast<float>(x);
    if (dtype == ARASFSR_TF32) return arasfsr::hw::from_bits(arasfsr::hw::to_tf32(number));
    return from_16(dtype, to_16(dtype, number));
}

double Numbers::operator[](size_t i) const {
    if (dtype == ARASFSR_TF32) return static_cast<const float*>(data())[i];
    return from_16(dtype, static_cast<const uint16_t*>(data())[i]);
}

void Numbers::set(size_t i, float x) const {
    if (dtype == ARASFSR_TF32) {
        static_cast<float*>(data())[i] = static_cast<float>(rounded_to(dtype, x));
    } else {
        static_cast<uint16_t*>(data())[i] = to_16(dtype, x);
    }
}

std::vector<double> Numbers::values() const {
    std::vector<double> result(size());
    for (size_t i = 0; i < size(); ++i) result[i] = (*this)[i];
    return result;
}

std::vector<Case> cases() {
    std::vector<Case> result;
    const char* const types[] = {"bfloat16", "float16", "tf32"};
    for (int dtype : {ARASFSR_BFLOAT16, ARASFSR_FLOAT16, ARASFSR_TF32}) {
        Case base;
        base.dtype = dtype;
        const std::string type = types[dtype];
        const auto add = [&](const std::string& name, const auto& change) {
            Case each = base;
            each.name = type + " " + name;
            change(each);
            result.push_back(each);
        };
        add("modulated", [](Case&) {});
        add("plain", [](Case& c) { c.modulated = c.skip = false; });
        add("given coordinates with cell", [](Case& c) {
            c.grid = false;
            c.has_cell = true;
        });
        add("images that share queries", [](Case& c) { c.images = 3; });
        add("plain images that share queries", [](Case& c) {
            c.images = 2;
            c.modulated = false;
        });
        add("images with their per_image queries", [](Case& c) {
            c.images = 3;
            c.per_image = c.has_cell = true;
            c.grid = false;
            c.queries = 45;
        });
        add("one layer", [](Case& c) { c.layers = 1; });
        add("eight layers", [](Case& c) {
            c.layers = 8;
            c.queries = 10;
        });
        add("an odd width", [](Case& c) { c.width = 37; });
        add("one pixel", [](Case& c) { c.lr_height = c.lr_width = 1; });
        add("a width of 128", [](Case& c) {
            c.width = 120;
            c.padded = 128;
        });
        add("a width of 256", [](Case& c) {
            c.width = c.padded = 256;
            c.layers = 2;
            c.queries = 70;
        });
    }
    return result;
}

Numbers Model::weights(int matrices, int outputs, int inputs, int row, double scale) {
    std::uniform_real_distribution<double> uniform(-scale, scale);
    Numbers result(config.dtype, static_cast<size_t>(matrices) * config.padded * row);
    for (size_t i = 0; i < result.size(); ++i) result.set(i, 0.0f);
    for (int m = 0; m < matrices; ++m) {
        for (int i = 0; i < outputs; ++i) {
            for (int j = 0; j < inputs; ++j) {
                const float weight = static_cast<float>(uniform(random));
                result.set((static_cast<size_t>(m) * config.padded + i) * row + j, weight);
            }
        }
    }
    return result;
}

Buffer<float> Model::numbers(int rows, int used, int row, double scale) {
    std::uniform_real_distribution<float> uniform(static_cast<float>(-scale), static_cast<float>(scale));
    Buffer<float> result(static_cast<size_t>(rows) * row);
    for (size_t i = 0; i < result.size(); ++i) result[i] = static_cast<int>(i % row) < used ? uniform(random) : 0.0f;
    return result;
}

Model::Model(const Case& from, unsigned seed) : config(from), random(seed) {
    const int n = config.width, np = config.padded, hidden = config.layers - 1, halves = config.modulated ? 2 : 1;
    const int pixels = config.lr_height * config.lr_width;
    const int64_t total = config.per_image ? config.images * config.queries : config.queries;
    const int branch = config.modulated ? 1 : 0;

    lr_map = numbers(config.images * pixels, n, n, 1.5);
    if (config.skip) image = numbers(config.images * 3, pixels, pixels, 1.0);
    if (!config.grid) coord = numbers(static_cast<int>(total), 2, 2, 1.0);
    if (config.has_cell) cell = numbers(static_cast<int>(total), 2, 2, 1.0);
    rel_weight = numbers(2, n, np, 0.5);
    if (config.has_cell) cell_weight = numbers(2, n, np, 0.5);
    content_weight = weights(hidden * halves, n, n, np, std::sqrt(6.0 / (n * halves)));
    content_bias = numbers(hidden, n, np, 0.1);
    encoding_weight = weights(branch, n, 42, ARASFSR_ENCODING, 0.3);
    modulator_weight = weights(hidden * branch, n, n, np, std::sqrt(6.0 / n));
    modulator_bias = numbers(config.layers * branch, n, np, 1.0);
    output_weight = numbers(3, n, np, 0.2);
    output_bias = numbers(1, 3, 3, 0.5);

    const int region_width = 10, height = static_cast<int>((total + region_width - 1) / region_width);
    problem.abi = ARASFSR_ABI;
    problem.dtype = config.dtype;
    problem.layers = config.layers;
    problem.width = n;
    problem.padded = np;
    problem.modulated = config.modulated;
    problem.lr_height = config.lr_height;
    problem.lr_width = config.lr_width;
    problem.images = config.per_image ? 1 : config.images;
    problem.queries = total;
    problem.per_image = config.per_image ? config.queries : 0;
    if (config.grid) {
        problem.grid_height = height + 5;
        problem.grid_width = region_width + 3;
        problem.region_top = 2;
        problem.region_left = 1;
        problem.region_width = region_width;
    }
    problem.lr_map = lr_map.data();
    problem.image = image.or_null();
    problem.coord = coord.or_null();
    problem.cell = cell.or_null();
    problem.rel_weight = rel_weight.data();
    problem.cell_weight = cell_weight.or_null();
    problem.content_weight = content_weight.or_null();
    problem.content_bias = content_bias.or_null();
    problem.encoding_weight = encoding_weight.or_null();
    problem.modulator_weight = modulator_weight.or_null();
    problem.modulator_bias = modulator_bias.or_null();
    problem.output_weight = output_weight.data();
    problem.output_bias = output_bias.data();
}

double Model::round(double x, bool rounded) const { return rounded ? rounded_to(config.dtype, x) : x; }

double Model::of_unit(double x, bool rounded) const {
    const bool unit = rounded && config.dtype != ARASFSR_TF32;
    return unit ? arasfsr::emulation::as_coarse_as_the_unit(static_cast<float>(x)) : x;
}

namespace {

// One axis of the local ensemble, in float32 and in the order of arasfsr.coords.
struct Side {
    int lr_pixel;
    double rel;
};

Side side(float x, int v, int n) {
    float moved = x + static_cast<float>(v / static_cast<double>(n) + 1e-6);
    moved = std::min(std::max(moved, static_cast<float>(-1 + 1e-6)), static_cast<float>(1 - 1e-6));
    const float place = ((moved + 1.0f) * static_cast<float>(n) - 1.0f) / 2.0f;
    const int nearest = std::min(std::max(static_cast<int>(std::nearbyint(place)), 0), n - 1);
    return {nearest, (x - ((2.0 * nearest + 1) / n - 1)) * n};
}

}  // namespace

// Where the query is and what its corners are.
void Model::locate(Trace& result, int image_index, int64_t query) const {
    const int h = config.lr_height, w = config.lr_width;
    result.query_index = config.per_image ? image_index * config.queries + query : query;
    if (config.grid) {
        const int64_t row = problem.region_top + query / problem.region_width;
        const int64_t column = problem.region_left + query % problem.region_width;
        result.y = static_cast<float>(row) * static_cast<float>(2.0 / problem.grid_height) +
                   static_cast<float>(1.0 / problem.grid_height - 1);
        result.x = static_cast<float>(column) * static_cast<float>(2.0 / problem.grid_width) +
                   static_cast<float>(1.0 / problem.grid_width - 1);
    } else {
        result.y = coord[2 * result.query_index];
        result.x = coord[2 * result.query_index + 1];
    }
    const Side ys[2] = {side(result.y, -1, h), side(result.y, 1, h)};
    const Side xs[2] = {side(result.x, -1, w), side(result.x, 1, w)};
    double areas[4], sum = 0;
    for (int v = 0; v < 4; ++v) {
        const Side row = ys[v / 2], column = xs[v % 2];
        result.lr_row[v] = static_cast<int64_t>(image_index) * h * w + row.lr_pixel * w + column.lr_pixel;
        result.rel[v][0] = row.rel;
        result.rel[v][1] = column.rel;
        areas[v] = std::fabs(row.rel * column.rel) + 1e-9;
        sum += areas[v];
    }
    for (int v = 0; v < 4; ++v) result.share[v] = areas[3 - v] / sum;
}

void Model::coordinate_branch(Trace& result, bool rounded) const {
    const int n = config.width, np = config.padded;
    Vector below(ARASFSR_ENCODING);
    below[0] = result.y;
    below[1] = result.x;
    for (int k = 0; k < 10; ++k) {
        for (int axis = 0; axis < 2; ++axis) {
            const double angle = std::ldexp(axis ? result.x : result.y, k);
            below[2 + 4 * k + axis] = of_unit(std::sin(angle), rounded);
            below[4 + 4 * k + axis] = of_unit(std::cos(angle), rounded);
        }
    }
    for (double& value : below) value = round(value, rounded);
    for (int layer = 0; layer < config.layers; ++layer) {
        const size_t row = layer ? np : ARASFSR_ENCODING;
        const Numbers& matrix = layer ? modulator_weight : encoding_weight;
        const size_t first = layer ? size_t(layer - 1) * np * np : 0;
        Vector s(n), cosines(n);
        for (int i = 0; i < n; ++i) {
            double angle = modulator_bias[layer * np + i];
            for (size_t j = 0; j < below.size(); ++j) angle += matrix[first + i * row + j] * below[j];
            s[i] = round(of_unit(std::sin(angle), rounded), rounded);
            cosines[i] = round(of_unit(std::cos(angle), rounded), rounded);
        }
        below = s;
        result.s.push_back(s);
        result.cosines.push_back(cosines);
    }
}

void Model::content_branch(Trace& result, int v, bool rounded) const {
    const int n = config.width, np = config.padded, halves = config.modulated ? 2 : 1;
    Vector f(n), product(n);
    for (int i = 0; i < n; ++i) {
        double z = lr_map[result.lr_row[v] * n + i];
        z += result.rel[v][0] * rel_weight[i] + result.rel[v][1] * rel_weight[np + i];
        for (int axis = 0; axis < 2 && config.has_cell; ++axis) {
            z += static_cast<double>(cell[2 * result.query_index + axis]) * cell_weight[axis * np + i];
        }
        f[i] = round(std::max(z, 0.0), rounded);
    }
    result.f[v].push_back(f);
    for (int layer = 1; layer < config.layers; ++layer) {
        const size_t of_f = size_t(layer - 1) * halves * np * np, of_product = of_f + size_t(np) * np;
        for (int j = 0; j < n && config.modulated; ++j) product[j] = round(f[j] * result.s[layer - 1][j], rounded);
        Vector next(n);
        for (int i = 0; i < n; ++i) {
            double z = content_bias[(layer - 1) * np + i];
            for (int j = 0; j < n; ++j) {
                z += content_weight[of_f + size_t(i) * np + j] * f[j];
                if (config.modulated) z += content_weight[of_product + size_t(i) * np + j] * product[j];
            }
            next[i] = round(std::max(z, 0.0), rounded);
        }
        f = next;
        result.f[v].push_back(f);
    }
}

double Model::skip(const Trace& at, int image_index, int channel) const {
    const int h = config.lr_height, w = config.lr_width;
    const double row = std::min(std::max(((at.y + 1.0) * h - 1) / 2, 0.0), h - 1.0);
    const double column = std::min(std::max(((at.x + 1.0) * w - 1) / 2, 0.0), w - 1.0);
    const int top = static_cast<int>(row), left = static_cast<int>(column);
    const int bottom = std::min(top + 1, h - 1), right = std::min(left + 1, w - 1);
    const float* plane = image.data() + (size_t(image_index) * 3 + channel) * h * w;
    const double b = row - top, c = column - left;
    return (plane[top * w + left] * (1 - c) + plane[top * w + right] * c) * (1 - b) +
           (plane[bottom * w + left] * (1 - c) + plane[bottom * w + right] * c) * b;
}

Trace Model::trace(int image_index, int64_t query, bool rounded) const {
    Trace result;
    locate(result, image_index, query);
    if (config.modulated) coordinate_branch(result, rounded);
    for (int v = 0; v < 4; ++v) content_branch(result, v, rounded);
    for (int channel = 0; channel < 3; ++channel) {
        double out = output_bias[channel];
        for (int i = 0; i < config.width; ++i) {
            double ensemble = 0;
            for (int v = 0; v < 4; ++v) ensemble += result.share[v] * result.f[v].back()[i];
            if (config.modulated) ensemble *= result.s.back()[i];
            out += output_weight[channel * config.padded + i] * ensemble;
        }
        result.out[channel] = config.skip ? out + skip(result, image_index, channel) : out;
    }
    return result;
}

std::vector<double> Model::render(bool rounded) const {
    std::vector<double> result;
    for (int i = 0; i < config.images; ++i) {
        for (int64_t query = 0; query < config.queries; ++query) {
            const Trace query_trace = trace(i, query, rounded);
            result.insert(result.end(), query_trace.out, query_trace.out + 3);
        }
    }
    return result;
}

}  // namespace tests
