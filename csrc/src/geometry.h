// Coordinates of queries, the corners of the local ensemble, the Fourier encoding, the skip; mirrors arasfsr/coords.py.
//
// Each product is rounded before it enters a sum (no fused multiply-add), as in the Python code: the highest octave of
// the encoding multiplies a difference in rounding by 512.
#ifndef ARASFSR_GEOMETRY_H
#define ARASFSR_GEOMETRY_H

#include "arasfsr/core.h"
#include "hw.h"
#include "numerics.h"

namespace arasfsr {

constexpr double CORNER_SHIFT = 1e-6;
constexpr float AREA_FLOOR = 1e-9f;
constexpr int CORNERS = 4;
constexpr int FOURIER_NUMBERS = 42;

struct Point {
    float y, x;
};

// One axis: the LR pixels and, for queries on a grid, the grid's pixels.
struct Axis {
    int32_t lr_pixels;  // n
    float shift[2];     // v/n + 1e-6 for v = -1 and 1
    float step, start;  // the centre of a grid pixel is index * step + start
    int64_t origin;     // the region's first pixel

    static Axis of(int32_t lr_pixels, int64_t pixels, int64_t origin) {
        const double n = lr_pixels, side = pixels > 0 ? static_cast<double>(pixels) : 1.0;
        return {lr_pixels,
                {static_cast<float>(-1 / n + CORNER_SHIFT), static_cast<float>(1 / n + CORNER_SHIFT)},
                static_cast<float>(2 / side),
                static_cast<float>(1 / side - 1),
                origin};
    }
};

// The queries' coordinates and the LR map's size.
struct Geometry {
    Axis y, x;
    int64_t region_width;  // of the grid's region
    const float* coord;    // NULL with a grid

    static Geometry of(const arasfsr_problem& problem) {
        return {Axis::of(problem.lr_height, problem.grid_height, problem.region_top),
                Axis::of(problem.lr_width, problem.grid_width, problem.region_left), problem.region_width,
                problem.grid_height > 0 ? nullptr : problem.coord};
    }

    ARASFSR_HOST_DEVICE int64_t lr_pixels() const { return static_cast<int64_t>(y.lr_pixels) * x.lr_pixels; }
};

ARASFSR_HOST_DEVICE float pixel_centre(const Axis& axis, int64_t index) {
    return hw::add(hw::multiply(static_cast<float>(axis.origin + index), axis.step), axis.start);
}

ARASFSR_HOST_DEVICE Point coordinates(const Geometry& geometry, int64_t query) {
    if (geometry.coord != nullptr) return {geometry.coord[2 * query], geometry.coord[2 * query + 1]};
    const int64_t row = query / geometry.region_width;
    return {pixel_centre(geometry.y, row), pixel_centre(geometry.x, query - row * geometry.region_width)};
}

ARASFSR_HOST_DEVICE float clamp(float x, float low, float high) { return fminf(fmaxf(x, low), high); }

// A corner along one axis: the index of the LR pixel, and (x - the pixel's centre) n.
struct Side {
    int32_t lr_pixel;
    float rel;
};

// `towards` 0 is the side of lower coordinates, 1 that of higher ones.
ARASFSR_HOST_DEVICE Side side(const Axis& axis, float x, int towards) {
    constexpr float low = static_cast<float>(-1 + CORNER_SHIFT), high = static_cast<float>(1 - CORNER_SHIFT);
    const float n = static_cast<float>(axis.lr_pixels);
    const float moved = clamp(hw::add(x, axis.shift[towards]), low, high);
    const float place = hw::multiply(hw::add(hw::multiply(hw::add(moved, 1.0f), n), -1.0f), 0.5f);
    const float nearest = clamp(rintf(place), 0.0f, n - 1.0f);
    const float centre = hw::add(hw::divide(hw::add(hw::multiply(2.0f, nearest), 1.0f), n), -1.0f);
    return {static_cast<int32_t>(nearest), hw::multiply(hw::add(x, -centre), n)};
}

struct Corner {
    int64_t lr_pixel;  // within the image, row by row
    float rel_y, rel_x;
    float share;  // of the ensemble: the area of the opposite corner over the sum of all four
};

ARASFSR_HOST_DEVICE float area(const Side& y, const Side& x) {
    return hw::add(fabsf(hw::multiply(y.rel, x.rel)), AREA_FLOOR);
}

// Corner 0 .. 3, vy outer.
ARASFSR_HOST_DEVICE Corner corner(const Geometry& geometry, Point at, int index) {
    const Side up = side(geometry.y, at.y, 0), down = side(geometry.y, at.y, 1);
    const Side left = side(geometry.x, at.x, 0), right = side(geometry.x, at.x, 1);
    const Side y = index / 2 ? down : up, opposite_y = index / 2 ? up : down;
    const Side x = index % 2 ? right : left, opposite_x = index % 2 ? left : right;
    const float all = hw::add(hw::add(hw::add(area(up, left), area(up, right)), area(down, left)), area(down, right));
    return {static_cast<int64_t>(y.lr_pixel) * geometry.x.lr_pixels + x.lr_pixel, y.rel, x.rel,
            hw::divide(area(opposite_y, opposite_x), all)};
}

// Element `index`, 0 .. 63, of [p, sin(2^k p), cos(2^k p) for k = 0 .. 9] for p = (y, x); zero from the 42nd on. Sines
// are as accurate as Angle<T>'s.
template <class T>
ARASFSR_DEVICE float fourier_encoding(Point at, int index) {
    const float p = index % 2 ? at.x : at.y;
    if (index < 2) return p;
    if (index >= FOURIER_NUMBERS) return 0.0f;
    const int octave = (index - 2) / 4;
    const Angle<T> angle(p * static_cast<float>(1 << octave));
    return (index - 2) / 2 % 2 ? angle.cosine() : angle.sine();
}

// A plane (h, w) sampled at a point: bilinear, with border padding.
ARASFSR_HOST_DEVICE float bilinear(const float* plane, const Geometry& geometry, Point at) {
    const int32_t h = geometry.y.lr_pixels, w = geometry.x.lr_pixels;
    const float lr_height = static_cast<float>(h), lr_width = static_cast<float>(w);
    const float row = clamp(((at.y + 1.0f) * lr_height - 1.0f) * 0.5f, 0.0f, lr_height - 1.0f);
    const float column = clamp(((at.x + 1.0f) * lr_width - 1.0f) * 0.5f, 0.0f, lr_width - 1.0f);
    const float below = row - floorf(row), beside = column - floorf(column);
    const int64_t top = static_cast<int64_t>(floorf(row)), left = static_cast<int64_t>(floorf(column));
    const float* above = plane + top * w;
    const float* under = plane + (top + 1 < h ? top + 1 : top) * w;
    const int64_t right = left + 1 < w ? left + 1 : left;
    return (above[left] * (1.0f - beside) + above[right] * beside) * (1.0f - below) +
           (under[left] * (1.0f - beside) + under[right] * beside) * below;
}

}  // namespace arasfsr
#endif
