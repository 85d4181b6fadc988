// The decoder except for its matrix products: what a crew of threads does for the queries of a tile and for the content
// rows of a part.
#ifndef ARASFSR_DECODER_H
#define ARASFSR_DECODER_H

#include "activation.h"
#include "geometry.h"
#include "tile.h"

namespace arasfsr {

struct ForwardArguments {
    arasfsr_problem problem;
    Geometry geometry;
    arasfsr_kept kept;  // f is NULL if nothing is kept; s is then scratch, (crews, L, ARASFSR_TILE, NP)
    float* out;
    const unsigned char* stream;  // the weights in the order of stream.h, for kernels that stream them
};

// The geometry of a content row.
struct alignas(16) Row {
    int64_t lr_map;  // offset of its row in the LR map, in elements
    Point rel, cell;
    float share;
};

struct alignas(16) Four {
    float of[4];
};

// Biases and output weights, read in pairs by all threads: from global memory, or from a copy in shared memory.
struct InGlobal {
    const float* numbers;
    ARASFSR_DEVICE hw::Two operator()(int at) const { return hw::load_constant(numbers + at); }
};
struct InShared {
    const float* numbers;
    ARASFSR_DEVICE hw::Two operator()(int at) const { return *reinterpret_cast<const hw::Two*>(numbers + at); }
};

// Whether a kernel keeps the activations for the backward: always, never, or if the arguments have room for them.
enum class Keeps { ALWAYS, NEVER, IF_ASKED };

// Activations of type T of ROWS content rows, NP wide, held by F in shared memory. A Crew is the set of threads that
// work together: it has their number, this thread's index among them, and their barrier.
template <class T, int NP, int ROWS, class Crew, class F, Keeps KEEPS = Keeps::IF_ASKED>
class Decoder {
  public:
    using Number = typename hw::Format<T>::Number;
    static constexpr int QUERIES = ROWS / CORNERS;
    static constexpr int ROWS_BYTES = ROWS * static_cast<int>(sizeof(Row));
    static constexpr int SKIPS_BYTES = QUERIES * 3 * static_cast<int>(sizeof(float));

    ARASFSR_DEVICE Decoder(const ForwardArguments& arguments, unsigned char* f, unsigned char* s, unsigned char* rows,
                           unsigned char* skips)
        : f{f},
          s{s},
          rows(reinterpret_cast<Row*>(rows)),
          call(arguments),
          problem(arguments.problem),
          kept(arguments.kept),
          skips(reinterpret_cast<float*>(skips)) {}

    ARASFSR_DEVICE bool keeps() const {
        return KEEPS == Keeps::IF_ASKED ? kept.f != nullptr : KEEPS == Keeps::ALWAYS;
    }

    // A tile's s of a layer, counted from 0: where it is kept, or in the scratch of the crew that computes it.
    ARASFSR_DEVICE Number* s_of(int64_t crew, int64_t tile, int layer) const {
        const int64_t slot = keeps() ? layer * kept.tiles + tile : crew * problem.layers + layer;
        return static_cast<Number*>(kept.s) + tile_offset(slot);
    }

    // Where the derivatives of s are kept, if they are.
    ARASFSR_DEVICE Number* cosines_of(int64_t tile, int layer) const {
        return static_cast<Number*>(kept.cosines) + tile_offset(layer * kept.tiles + tile);
    }

    // The Fourier encoding of a tile's queries, to the first columns of f.
    ARASFSR_DEVICE void encode(int64_t tile) const {
        constexpr int THREADS_OF_ROW = Crew::THREADS / ARASFSR_TILE, COLUMNS = ARASFSR_ENCODING / THREADS_OF_ROW;
        const int thread = Crew::thread(), row = thread / THREADS_OF_ROW, first = thread % THREADS_OF_ROW * COLUMNS;
        const Point at = coordinates(call.geometry, query_index(tile * ARASFSR_TILE + row));
#pragma unroll 4
        for (int column = first; column < first + COLUMNS; column += 2) {
            f.pair(row, column) = hw::pack<T>(fourier_encoding<T>(at, column), fourier_encoding<T>(at, column + 1));
        }
    }

    // s = modulation(angle + bias), to f; its derivative, if kept, to `cosines`, (ARASFSR_TILE, NP).
    template <class Sum, class Bias>
    ARASFSR_DEVICE void modulation(Sum& angles, const Bias& bias, Number* cosines) const {
        angles.store(f, bias, [&](int row, int column, float x, float y, hw::Two add) {
            const Modulation<T> of_x(x + add.x), of_y(y + add.y);
            if (keeps()) {
                *reinterpret_cast<hw::Pair<T>*>(cosines + row * NP + column) =
                    hw::pack<T>(of_x.derivative(), of_y.derivative());
            }
            return hw::pack<T>(of_x.value(), of_y.value());
        });
    }

    // The geometry of a part's rows, from query `start` of the chunk on; kept if the activations are.
    ARASFSR_DEVICE void find_rows(int64_t start, int image_index) const {
        const int row = Crew::thread();
        if (row >= ROWS) return;
        const int64_t query = query_index(start + row / CORNERS);
        const Corner at = corner(call.geometry, coordinates(call.geometry, query), row % CORNERS);
        const int64_t lr_row = image_of(query, image_index) * call.geometry.lr_pixels() + at.lr_pixel;
        Row result{lr_row * problem.width, {at.rel_y, at.rel_x}, {0.0f, 0.0f}, at.share};
        if (problem.cell != nullptr) result.cell = {problem.cell[2 * query], problem.cell[2 * query + 1]};
        rows[row] = result;
        if (!keeps()) return;
        const int64_t to = kept_row(start, image_index) + row;
        kept.lr_rows[to] = lr_row;
        kept.rel[2 * to] = at.rel_y;
        kept.rel[2 * to + 1] = at.rel_x;
        kept.share[to] = at.share;
    }

    // The part of the output that does not depend on the network: the bias and the skip. Done by the threads that have
    // no row in find_rows, at the same time.
    ARASFSR_DEVICE void find_skip(int64_t start, int image_index) const {
        static_assert(ROWS + QUERIES * 3 <= Crew::THREADS, "a thread has a row or a colour");
        const int i = Crew::thread() - ROWS;
        if (i < 0 || i >= QUERIES * 3) return;
        const int channel = i % 3;
        const int64_t query = query_index(start + i / 3);
        float value = problem.output_bias[channel];
        if (problem.image != nullptr) {
            const int64_t plane = image_of(query, image_index) * 3 + channel;
            value += bilinear(problem.image + plane * call.geometry.lr_pixels(), call.geometry,
                              coordinates(call.geometry, query));
        }
        skips[i] = value;
    }

    // Keeps f, which holds f_layer.
    ARASFSR_DEVICE void keep_f(int64_t start, int image_index, int layer) const {
        store_tile<ROWS, Crew>(kept_f(start, image_index, layer), f);
    }

    // Where f_layer is kept.
    ARASFSR_DEVICE Number* kept_f(int64_t start, int image_index, int layer) const {
        const int64_t all_rows = problem.images * kept.tiles * (ARASFSR_TILE * CORNERS);
        return static_cast<Number*>(kept.f) + ((layer - 1) * all_rows + kept_row(start, image_index)) * NP;
    }

    // f_1 = activation(G[lr_row] + I0_rel rel [+ I0_cell cell]).
    ARASFSR_DEVICE void first_layer() const {
        if (problem.width % 4 == 0) {
            first_layer_of([this](const float* from, int column) { return aligned_four(from, column); });
        } else {
            first_layer_of([this](const float* from, int column) { return unaligned_four(from, column); });
        }
    }

    // The next layer's f = activation(product + bias).
    template <class Sum, class Bias>
    ARASFSR_DEVICE void hidden_layer(Sum& product, const Bias& bias) const {
        product.store(f, bias, [](int, int, float x, float y, hw::Two add) {
            return hw::pack<T>(activation(x + add.x), activation(y + add.y));
        });
    }

    // sum over corners of share * O (f_L * s_L), + bias + skip, to the output.
    template <class Weights>
    ARASFSR_DEVICE void output_layer(int64_t start, int image_index, const Weights& weights) const {
        constexpr int STEPS = NP / (2 * hw::WARP), WARPS = Crew::THREADS / hw::WARP;
        constexpr int QUERIES_OF_WARP = QUERIES / WARPS;
        static_assert(QUERIES % WARPS == 0, "every warp has as many queries");
        const int thread = Crew::thread(), lane = thread % hw::WARP, column = 2 * lane;
        hw::Two weight[3][STEPS];
#pragma unroll
        for (int channel = 0; channel < 3; ++channel) {
#pragma unroll
            for (int i = 0; i < STEPS; ++i) {
                weight[channel][i] = weights(channel * NP + column + i * (2 * hw::WARP));
            }
        }
        float sums[QUERIES_OF_WARP * 3] = {};
#pragma unroll
        for (int q = 0; q < QUERIES_OF_WARP; ++q) {
            const int query = thread / hw::WARP + q * WARPS;
#pragma unroll
            for (int i = 0; i < STEPS; ++i) {
                float x = 0.0f, y = 0.0f;
#pragma unroll
                for (int v = 0; v < CORNERS; ++v) {
                    const hw::Pair<T> pair = f.pair(query * CORNERS + v, column + i * (2 * hw::WARP));
                    x += rows[query * CORNERS + v].share * hw::lower<T>(pair);
                    y += rows[query * CORNERS + v].share * hw::upper<T>(pair);
                }
                if (problem.modulated) {
                    const hw::Pair<T> pair = s.pair(query, column + i * (2 * hw::WARP));
                    x *= hw::lower<T>(pair);
                    y *= hw::upper<T>(pair);
                }
#pragma unroll
                for (int channel = 0; channel < 3; ++channel) {
                    sums[q * 3 + channel] += x * weight[channel][i].x + y * weight[channel][i].y;
                }
            }
        }
        hw::warp_sums(sums);
#pragma unroll
        for (int q = 0; q < QUERIES_OF_WARP; ++q) {
            const int query = thread / hw::WARP + q * WARPS;
            if (lane >= 3) continue;
            const float sum = lane == 0 ? sums[q * 3] : lane == 1 ? sums[q * 3 + 1] : sums[q * 3 + 2];
            write_output(start, image_index, query, lane, sum);
        }
    }

    // Writes a channel of one of the part's queries, with the result of find_skip added.
    ARASFSR_DEVICE void write_output(int64_t start, int image_index, int query, int channel, float colour) const {
        if (start + query >= kept.count) return;
        const int64_t pixel = image_index * problem.queries + kept.first + start + query;
        call.out[pixel * 3 + channel] = colour + skips[query * 3 + channel];
    }

    const F f;
    const Tile<NP, Number> s;
    Row* const rows;

  private:
    // The offset of a tile's s, in elements.
    static ARASFSR_DEVICE int64_t tile_offset(int64_t slot) { return slot * (ARASFSR_TILE * NP); }

    // The first of the kept rows of the part that starts at that query of the chunk.
    ARASFSR_DEVICE int64_t kept_row(int64_t start, int image_index) const {
        return (image_index * kept.tiles * ARASFSR_TILE + start) * CORNERS;
    }

    // The index among all queries of a query of the chunk; for the padding after the last one, that of the first.
    ARASFSR_DEVICE int64_t query_index(int64_t query) const { return kept.first + (query < kept.count ? query : 0); }

    ARASFSR_DEVICE int64_t image_of(int64_t query_index, int image_index) const {
        return problem.per_image > 0 ? query_index / problem.per_image : image_index;
    }

    // `load` loads four elements, called with an address and a column. A batch of rows is loaded before the first of
    // them is used, so that they wait for memory only once.
    template <class Load>
    ARASFSR_DEVICE void first_layer_of(const Load& load) const {
        constexpr int ACROSS = NP / 4, DOWN = Crew::THREADS / ACROSS, ROWS_OF_THREAD = ROWS / DOWN;
        constexpr int AT_ONCE = ROWS_OF_THREAD < 8 ? ROWS_OF_THREAD : 8;
        static_assert(ROWS_OF_THREAD % AT_ONCE == 0, "a thread's rows are whole batches");
        const int thread = Crew::thread(), column = thread % ACROSS * 4;
        const float* lr_map = problem.lr_map + column;
        const bool has_cell = problem.cell != nullptr;
        const Four rel_y = four(problem.rel_weight + column), rel_x = four(problem.rel_weight + NP + column);
        Four cell_y{}, cell_x{};
        if (has_cell) {
            cell_y = four(problem.cell_weight + column);
            cell_x = four(problem.cell_weight + NP + column);
        }
#pragma unroll 1
        for (int turn = 0; turn < ROWS_OF_THREAD / AT_ONCE; ++turn) {
            const int first = thread / ACROSS + turn * (AT_ONCE * DOWN);
            Row at[AT_ONCE];
            Four z[AT_ONCE];
#pragma unroll
            for (int i = 0; i < AT_ONCE; ++i) at[i] = rows[first + i * DOWN];
#pragma unroll
            for (int i = 0; i < AT_ONCE; ++i) z[i] = load(lr_map + at[i].lr_map, column);
#pragma unroll
            for (int i = 0; i < AT_ONCE; ++i) {
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    z[i].of[j] = z[i].of[j] + at[i].rel.y * rel_y.of[j] + at[i].rel.x * rel_x.of[j];
                }
            }
            if (has_cell) {  // one branch around all of them
#pragma unroll
                for (int i = 0; i < AT_ONCE; ++i) {
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        z[i].of[j] = z[i].of[j] + at[i].cell.y * cell_y.of[j] + at[i].cell.x * cell_x.of[j];
                    }
                }
            }
#pragma unroll
            for (int i = 0; i < AT_ONCE; ++i) {
#pragma unroll
                for (int j = 0; j < 4; ++j) z[i].of[j] = activation(z[i].of[j]);
                f.pairs(first + i * DOWN, column) = {hw::pack<T>(z[i].of[0], z[i].of[1]),
                                                     hw::pack<T>(z[i].of[2], z[i].of[3])};
            }
        }
    }

    // Four elements of a row of the LR map, zero beyond the width.
    ARASFSR_DEVICE Four unaligned_four(const float* from, int column) const {
        Four result;
#pragma unroll
        for (int i = 0; i < 4; ++i) result.of[i] = column + i < problem.width ? from[i] : 0.0f;
        return result;
    }

    // The same, if the width is a multiple of four.
    ARASFSR_DEVICE Four aligned_four(const float* from, int column) const {
        Four result{};
        if (column < problem.width) hw::load_constant(result.of, from);
        return result;
    }

    static ARASFSR_DEVICE Four four(const float* from) { return *reinterpret_cast<const Four*>(from); }

    const ForwardArguments& call;
    const arasfsr_problem& problem;
    const arasfsr_kept& kept;
    float* const skips;
};

}  // namespace arasfsr
#endif
