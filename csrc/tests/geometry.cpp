// The geometry that host and device share against straightforward formulas, borders included.
#include <random>

#include "../src/geometry.h"
#include "check.h"

using namespace arasfsr;

namespace {

Geometry geometry_of(int h, int w, int64_t height, int64_t width, int64_t top, int64_t left, int64_t region_width) {
    return {Axis::of(h, height, top), Axis::of(w, width, left), region_width, nullptr};
}

// As arasfsr.coords computes it: float32, one rounding an operation.
int nearest_lr_pixel(float x, int v, int n) {
    const float shift = static_cast<float>(v / static_cast<double>(n) + 1e-6);
    float moved = x + shift;
    moved = std::fmin(std::fmax(moved, static_cast<float>(-1 + 1e-6)), static_cast<float>(1 - 1e-6));
    const float sum = moved + 1.0f;
    const float scaled = sum * static_cast<float>(n);
    const int nearest = static_cast<int>(std::nearbyint((scaled - 1.0f) / 2.0f));
    return std::min(std::max(nearest, 0), n - 1);
}

void grid_coordinates_are_rounded_twice() {
    for (int64_t side : {1, 2, 3, 37, 1024, 4099}) {
        const Geometry geometry = geometry_of(8, 8, side, side, 0, 0, side);
        for (int64_t i = 0; i < side; ++i) {
            const float step = static_cast<float>(2.0 / side), start = static_cast<float>(1.0 / side - 1.0);
            volatile float product = static_cast<float>(i) * step;
            const float centre = product + start;
            CHECK(coordinates(geometry, i * side + i).y == centre);
            CHECK(coordinates(geometry, i * side + i).x == centre);
            CHECK(std::fabs(centre - ((2 * i + 1.0) / side - 1)) < 1e-6);
        }
    }
}

void regions_are_cut_from_the_grid() {
    const Geometry whole = geometry_of(4, 4, 50, 70, 0, 0, 70), region = geometry_of(4, 4, 50, 70, 11, 23, 9);
    for (int64_t query = 0; query < 9 * 13; ++query) {
        const Point part = coordinates(region, query);
        const Point same = coordinates(whole, (11 + query / 9) * 70 + 23 + query % 9);
        CHECK(part.y == same.y && part.x == same.x);
    }
}

void check_corners(int h, int w, Point at) {
    const Geometry geometry = geometry_of(h, w, 0, 0, 0, 0, 0);
    double areas[4], sum = 0, shares = 0;
    for (int v = 0; v < 4; ++v) {
        const int row = nearest_lr_pixel(at.y, v / 2 ? 1 : -1, h), column = nearest_lr_pixel(at.x, v % 2 ? 1 : -1, w);
        const Corner actual = corner(geometry, at, v);
        const double rel_y = (at.y - ((2.0 * row + 1) / h - 1)) * h, rel_x = (at.x - ((2.0 * column + 1) / w - 1)) * w;
        CHECK(actual.lr_pixel == static_cast<int64_t>(row) * w + column);
        CHECK(std::fabs(actual.rel_y - rel_y) < 1.5e-7 * h + 1e-7);
        CHECK(std::fabs(actual.rel_x - rel_x) < 1.5e-7 * w + 1e-7);
        areas[v] = std::fabs(static_cast<double>(actual.rel_y) * actual.rel_x) + 1e-9;
        sum += areas[v];
    }
    for (int v = 0; v < 4; ++v) {
        const double share = corner(geometry, at, v).share;
        CHECK(std::fabs(share - areas[3 - v] / sum) < 1e-6);
        shares += share;
    }
    CHECK(std::fabs(shares - 1) < 1e-6);
}

void corners_are_those_of_the_formula() {
    std::mt19937 random(3);
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (int h : {1, 2, 5, 128}) {
        for (int w : {1, 3, 7, 96}) {
            for (int i = 0; i < 200; ++i) check_corners(h, w, {uniform(random), uniform(random)});
            for (float y : {-1.0f, 1.0f, 0.0f, -1.25f, 1.25f}) {
                for (float x : {-1.0f, 1.0f, 0.0f, 2.0f / w - 1, 1.0f / w - 1}) check_corners(h, w, {y, x});
            }
        }
    }
}

// At a corner of the grid all four corners are the same LR pixel; inside they are four neighbours. Offsets and shares
// are known.
void golden_corners() {
    const Geometry geometry = geometry_of(2, 2, 4, 4, 0, 0, 4);
    const Point at = coordinates(geometry, 0);  // (-0.75, -0.75): a quarter of a pixel towards the border
    const int64_t lr_pixels[4] = {0, 0, 0, 0};
    for (int v = 0; v < 4; ++v) {
        const Corner actual = corner(geometry, at, v);
        CHECK(actual.lr_pixel == lr_pixels[v]);
        CHECK(actual.rel_y == -0.5f && actual.rel_x == -0.5f && actual.share == 0.25f);
    }
    const Point inside = coordinates(geometry, 5);  // (-0.25, -0.25)
    const float shares[4] = {0.5625f, 0.1875f, 0.1875f, 0.0625f};
    for (int v = 0; v < 4; ++v) {
        const Corner actual = corner(geometry, inside, v);
        CHECK(actual.lr_pixel == v);
        CHECK(actual.rel_y == (v / 2 ? -1.5f : 0.5f) && actual.rel_x == (v % 2 ? -1.5f : 0.5f));
        CHECK(std::fabs(actual.share - shares[v]) < 1e-6);
    }
}

template <class T>
void encoding_is_that_of_the_formula(double most) {
    std::mt19937 random(5);
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (int i = 0; i < 2000; ++i) {
        const Point at{uniform(random), uniform(random)};
        CHECK(fourier_encoding<T>(at, 0) == at.y && fourier_encoding<T>(at, 1) == at.x);
        for (int k = 0; k < 10; ++k) {
            for (int axis = 0; axis < 2; ++axis) {
                const double angle = std::ldexp(axis ? at.x : at.y, k);
                CHECK(std::fabs(fourier_encoding<T>(at, 2 + 4 * k + axis) - std::sin(angle)) < most);
                CHECK(std::fabs(fourier_encoding<T>(at, 4 + 4 * k + axis) - std::cos(angle)) < most);
            }
        }
        for (int index = 42; index < 64; ++index) CHECK(fourier_encoding<T>(at, index) == 0.0f);
    }
}

void skip_is_bilinear_and_repeats_borders() {
    const int h = 3, w = 4;
    std::mt19937 random(9);
    std::uniform_real_distribution<float> uniform(-1.2f, 1.2f);
    std::vector<float> plane(h * w);
    for (float& pixel : plane) pixel = uniform(random);
    const Geometry geometry = geometry_of(h, w, 0, 0, 0, 0, 0);
    const auto pixel = [&](int row, int column) {
        return static_cast<double>(plane[std::min(std::max(row, 0), h - 1) * w + std::min(std::max(column, 0), w - 1)]);
    };
    for (int i = 0; i < 1000; ++i) {
        const Point at{uniform(random), uniform(random)};
        const double y = std::min(std::max(((at.y + 1.0) * h - 1) / 2, 0.0), h - 1.0);
        const double x = std::min(std::max(((at.x + 1.0) * w - 1) / 2, 0.0), w - 1.0);
        const int row = static_cast<int>(y), column = static_cast<int>(x);
        const double b = y - row, c = x - column;
        const double expected = (pixel(row, column) * (1 - c) + pixel(row, column + 1) * c) * (1 - b) +
                             (pixel(row + 1, column) * (1 - c) + pixel(row + 1, column + 1) * c) * b;
        CHECK(std::fabs(bilinear(plane.data(), geometry, at) - expected) < 2e-6);
    }
}

}  // namespace

int main() {
    grid_coordinates_are_rounded_twice();
    regions_are_cut_from_the_grid();
    corners_are_those_of_the_formula();
    golden_corners();
    encoding_is_that_of_the_formula<Tf32>(1.5e-7);
    encoding_is_that_of_the_formula<Bfloat16>(8e-7);
    encoding_is_that_of_the_formula<Float16>(8e-7);
    skip_is_bilinear_and_repeats_borders();
    return check::report("geometry");
}
