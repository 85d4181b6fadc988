// Kernel: from the LR map G to the picture, or, kept for the backward, to every layer's activations.
//
// A block takes tiles of 64 queries in turn. It computes the coordinate branch of a tile, s_1 .. s_L, to global memory
// that stays in the second level cache; then, for every image and part of the tile's queries, the content branch. A
// part's f stays in shared memory from the first layer to the last: registers hold a layer's whole result before it
// overwrites what it was computed from.
#ifndef ARASFSR_FORWARD_H
#define ARASFSR_FORWARD_H

#include "shape.h"

namespace arasfsr {

struct ForwardArguments {
    arasfsr_problem problem;
    Geometry geometry;
    arasfsr_kept kept;  // f is NULL where nothing is kept; s is then (blocks, L, ARASFSR_TILE, NP) of scratch
    float* out;
};

// What a content row is, apart from its activations.
struct alignas(16) Row {
    int64_t latent;  // row of the latent, counted over all images
    Point rel, cell;
    float share;
};

struct alignas(16) Four {
    float of[4];
};

template <class S>
class Forward {
    using T = typename S::Type;
    static constexpr int NP = S::NP;

    struct Layout {  // of shared memory
        static constexpr int f = 0;
        static constexpr int s = f + Tile<NP>::bytes(S::ROWS);
        static constexpr int ring = s + Tile<NP>::bytes(S::QUERIES);
        static constexpr int rows = ring + Ring<NP, S::STAGES, Inner::INPUT>::BYTES;
        static constexpr int sums = rows + S::ROWS * static_cast<int>(sizeof(Row));
        static constexpr int end = sums + S::QUERIES * 3 * static_cast<int>(sizeof(float));
    };

  public:
    static constexpr int SHARED_BYTES = Layout::end;

    explicit ARASFSR_DEVICE Forward(const ForwardArguments& arguments)
        : call(arguments),
          problem(arguments.problem),
          kept(arguments.kept),
          keep(arguments.kept.f != nullptr),
          f{hw::shared() + Layout::f},
          s{hw::shared() + Layout::s},
          ring{hw::shared() + Layout::ring},
          rows(reinterpret_cast<Row*>(hw::shared() + Layout::rows)),
          sums(reinterpret_cast<float*>(hw::shared() + Layout::sums)) {}

    ARASFSR_DEVICE void run() {
        for (int64_t tile = hw::block(); tile < kept.tiles; tile += hw::blocks()) {
            const int64_t s_tile = keep ? tile : hw::block() * problem.layers;
            s_base = static_cast<uint16_t*>(kept.s) + s_tile * (ARASFSR_TILE * NP);
            s_slot = (keep ? kept.tiles : 1) * (ARASFSR_TILE * NP);
            if (problem.modulated) coordinate_branch(tile);
            for (int which = 0; which < problem.images; ++which) {
                for (int part = 0; part < S::PARTS; ++part) content_branch(tile, which, part);
            }
        }
    }

  private:
    // The number of a chunk's query among all of an image, and whether it exists.
    ARASFSR_DEVICE int64_t number(int64_t query) const { return kept.first + (query < kept.count ? query : 0); }

    ARASFSR_DEVICE int64_t image_of(int64_t number, int which) const {
        return problem.per_image > 0 ? number / problem.per_image : which;
    }

    ARASFSR_DEVICE void coordinate_branch(int64_t tile) {
        constexpr int SQUARE = Ring<NP, S::STAGES, Inner::INPUT>::STEPS;
        Weights weights{static_cast<const uint16_t*>(problem.encoding_weight), ARASFSR_ENCODING,
                        ARASFSR_ENCODING / DEPTH};
        hw::barrier();  // the tile before is done with f and the ring
        ring.open(weights);
        encode(tile);
        for (int layer = 0; layer < problem.layers; ++layer) {
            Total<ARASFSR_TILE, NP> total;
            total.clear();
            multiply<T>(total, f, ring, weights, s);
            hw::barrier();
            if (layer + 1 < problem.layers) {
                weights = {static_cast<const uint16_t*>(problem.modulator_weight) + layer * (NP * NP), NP, SQUARE};
                ring.open(weights);
            }
            modulation(total, tile, layer);
            hw::barrier();
            store_tile<ARASFSR_TILE, THREADS>(s_base + layer * s_slot, f);
        }
    }

    // The Fourier encoding of the tile's queries, to the first columns of f.
    ARASFSR_DEVICE void encode(int64_t tile) {
        constexpr int SHARE = THREADS / ARASFSR_TILE, COLUMNS = ARASFSR_ENCODING / SHARE;
        const int thread = hw::thread(), row = thread / SHARE, first = thread % SHARE * COLUMNS;
        const Point at = coordinates(call.geometry, number(tile * ARASFSR_TILE + row));
        for (int column = first; column < first + COLUMNS; column += 2) {
            f.pair(row, column) = hw::pack<T>(fourier_encoding(at, column), fourier_encoding(at, column + 1));
        }
    }

    // s = sin(angle + bias), to f; where kept, the cosines, to where they belong.
    ARASFSR_DEVICE void modulation(Total<ARASFSR_TILE, NP>& angles, int64_t tile, int layer) {
        const float* bias = problem.modulator_bias + layer * NP;
        uint16_t* cosines = nullptr;
        if (keep) cosines = static_cast<uint16_t*>(kept.cosines) + layer * s_slot + tile * (ARASFSR_TILE * NP);
        angles.each_pair([&](int row, int column, float& x, float& y) {
            const float angle_x = x + bias[column], angle_y = y + bias[column + 1];
            f.pair(row, column) = hw::pack<T>(sine(angle_x, 0.0f), sine(angle_y, 0.0f));
            if (cosines == nullptr) return;
            *reinterpret_cast<uint32_t*>(cosines + row * NP + column) =
                hw::pack<T>(sine(angle_x, 1.0f), sine(angle_y, 1.0f));
        });
    }

    ARASFSR_DEVICE void content_branch(int64_t tile, int which, int part) {
        const int64_t start = tile * ARASFSR_TILE + part * S::QUERIES;
        const int64_t first_row = (which * kept.tiles * ARASFSR_TILE + start) * CORNERS;
        hw::barrier();  // what went before is done with all shared memory, and s is there for all
        prefetch(part, 1);
        find_rows(start, which, first_row);
        hw::barrier();
        first_layer();
        for (int layer = 1;; ++layer) {  // f holds f_layer
            if (keep) {
                hw::barrier();
                uint16_t* to = static_cast<uint16_t*>(kept.f) + (layer - 1) * all_rows() * NP + first_row * NP;
                store_tile<S::ROWS, THREADS>(to, f);
            }
            if (layer == problem.layers) break;
            content_layer(part, layer);
        }
        if (!keep) output_layer(start, which);
    }

    ARASFSR_DEVICE int64_t all_rows() const { return problem.images * kept.tiles * (ARASFSR_TILE * CORNERS); }

    // Starts copying what f_layer will meet: the part's s_layer and the weights of the layer above.
    ARASFSR_DEVICE void prefetch(int part, int layer) {
        const bool hidden = layer < problem.layers;
        if (problem.modulated && (hidden || !keep)) {
            fetch_tile<S::QUERIES, THREADS>(s, s_base + (layer - 1) * s_slot + part * (S::QUERIES * NP));
        }
        if (hidden) {
            ring.open(content_weights(layer));
        } else {
            hw::copy_commit();
        }
    }

    ARASFSR_DEVICE Weights content_weights(int layer) const {
        const int halves = problem.modulated ? 2 : 1;
        return {static_cast<const uint16_t*>(problem.content_weight) + (layer - 1) * halves * (NP * NP), NP,
                halves * Ring<NP, S::STAGES, Inner::INPUT>::STEPS};
    }

    ARASFSR_DEVICE void find_rows(int64_t start, int which, int64_t first_row) {
        const int row = hw::thread();
        if (row >= S::ROWS) return;
        const int64_t query = number(start + row / CORNERS);
        const Corner found = corner(call.geometry, coordinates(call.geometry, query), row % CORNERS);
        Row result{image_of(query, which) * call.geometry.pixels() + found.cell,
                   {found.rel_y, found.rel_x},
                   {0.0f, 0.0f},
                   found.share};
        if (problem.cell != nullptr) result.cell = {problem.cell[2 * query], problem.cell[2 * query + 1]};
        rows[row] = result;
        if (keep) {
            kept.cells[first_row + row] = result.latent;
            kept.rel[2 * (first_row + row)] = found.rel_y;
            kept.rel[2 * (first_row + row) + 1] = found.rel_x;
            kept.share[first_row + row] = found.share;
        }
    }

    // Four of a latent's numbers, zero beyond the width.
    ARASFSR_DEVICE Four latent(int64_t row, int column) const {
        const float* from = problem.latent + row * problem.width + column;
        if (problem.width % 4 == 0 && column < problem.width) return *reinterpret_cast<const Four*>(from);
        Four result;
#pragma unroll
        for (int i = 0; i < 4; ++i) result.of[i] = column + i < problem.width ? from[i] : 0.0f;
        return result;
    }

    // f_1 = relu(G[cell] + I0_rel rel [+ I0_cell cell]).
    ARASFSR_DEVICE void first_layer() {
        constexpr int ACROSS = NP / 4, DOWN = THREADS / ACROSS;
        const int thread = hw::thread(), column = thread % ACROSS * 4;
        const bool cells = problem.cell != nullptr;
        const Four rel_y = four(problem.rel_weight + column), rel_x = four(problem.rel_weight + NP + column);
        Four cell_y{}, cell_x{};
        if (cells) {
            cell_y = four(problem.cell_weight + column);
            cell_x = four(problem.cell_weight + NP + column);
        }
#pragma unroll 4
        for (int i = 0; i < S::ROWS / DOWN; ++i) {
            const int row = thread / ACROSS + i * DOWN;
            const Row& at = rows[row];
            Four z = latent(at.latent, column);
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                z.of[j] += at.rel.y * rel_y.of[j] + at.rel.x * rel_x.of[j];
                if (cells) z.of[j] += at.cell.y * cell_y.of[j] + at.cell.x * cell_x.of[j];
                z.of[j] = fmaxf(z.of[j], 0.0f);
            }
            f.pair(row, column) = hw::pack<T>(z.of[0], z.of[1]);
            f.pair(row, column + 2) = hw::pack<T>(z.of[2], z.of[3]);
        }
    }

    static ARASFSR_DEVICE Four four(const float* from) { return *reinterpret_cast<const Four*>(from); }

    // f_{layer + 1} = relu(W_f f + W_p (f * s) + bias), in place of f = f_layer.
    ARASFSR_DEVICE void content_layer(int part, int layer) {
        Total<S::ROWS, NP> total;
        total.clear();
        multiply<T>(total, f, ring, content_weights(layer), s);
#ifndef ARASFSR_TEST_MISSING_BARRIER
        hw::barrier();  // all have read f, s and the ring
#endif
        prefetch(part, layer + 1);
        const float* bias = problem.content_bias + (layer - 1) * NP;
        total.each_pair([&](int row, int column, float& x, float& y) {
            f.pair(row, column) = hw::pack<T>(fmaxf(x + bias[column], 0.0f), fmaxf(y + bias[column + 1], 0.0f));
        });
    }

    // sum over corners of share * O (f_L * s_L), + bias + skip, to the picture.
    ARASFSR_DEVICE void output_layer(int64_t start, int which) {
        hw::copy_wait<0>();
        hw::barrier();  // f_L and s_L are there for all
        constexpr int STEPS = NP / (2 * hw::WARP);
        const int thread = hw::thread(), lane = thread % hw::WARP, column = 2 * lane;
        float weight[3][STEPS][2];
#pragma unroll
        for (int channel = 0; channel < 3; ++channel) {
#pragma unroll
            for (int i = 0; i < STEPS; ++i) {
                const float* from = problem.output_weight + channel * NP + column + i * (2 * hw::WARP);
                weight[channel][i][0] = from[0];
                weight[channel][i][1] = from[1];
            }
        }
        for (int query = thread / hw::WARP; query < S::QUERIES; query += THREADS / hw::WARP) {
            float sum[3] = {0.0f, 0.0f, 0.0f};
#pragma unroll
            for (int i = 0; i < STEPS; ++i) {
                float x = 0.0f, y = 0.0f;
#pragma unroll
                for (int v = 0; v < CORNERS; ++v) {
                    const uint32_t pair = f.pair(query * CORNERS + v, column + i * (2 * hw::WARP));
                    x += rows[query * CORNERS + v].share * hw::lower<T>(pair);
                    y += rows[query * CORNERS + v].share * hw::upper<T>(pair);
                }
                if (problem.modulated) {
                    const uint32_t pair = s.pair(query, column + i * (2 * hw::WARP));
                    x *= hw::lower<T>(pair);
                    y *= hw::upper<T>(pair);
                }
#pragma unroll
                for (int channel = 0; channel < 3; ++channel) {
                    sum[channel] += x * weight[channel][i][0] + y * weight[channel][i][1];
                }
            }
#pragma unroll
            for (int channel = 0; channel < 3; ++channel) {
                sum[channel] = hw::warp_sum(sum[channel]);
                if (lane == 0) sums[query * 3 + channel] = sum[channel];
            }
        }
        hw::barrier();
        const int i = thread, channel = i % 3;
        if (i >= S::QUERIES * 3 || start + i / 3 >= kept.count) return;
        const int64_t query = number(start + i / 3);
        float value = sums[i] + problem.output_bias[channel];
        if (problem.image != nullptr) {
            const float* plane = problem.image + (image_of(query, which) * 3 + channel) * call.geometry.pixels();
            value += bilinear(plane, call.geometry, coordinates(call.geometry, query));
        }
        call.out[(which * problem.queries + query) * 3 + channel] = value;
    }

    const ForwardArguments& call;
    const arasfsr_problem& problem;
    const arasfsr_kept& kept;
    const bool keep;
    const Tile<NP> f, s;
    const Ring<NP, S::STAGES, Inner::INPUT> ring;
    Row* const rows;
    float* const sums;
    uint16_t* s_base;  // of the tile
    int64_t s_slot;    // numbers from a layer's s to the next one's
};

template <class S>
ARASFSR_KERNEL(THREADS, S::BLOCKS) forward(const ARASFSR_PARAMETER ForwardArguments arguments) {
    Forward<S>(arguments).run();
}

}  // namespace arasfsr
#endif
