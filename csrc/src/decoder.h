// The decoder but for its products: what a crew of threads does to a tile's queries, and to a part's content rows.
#ifndef ARASFSR_DECODER_H
#define ARASFSR_DECODER_H

#include "geometry.h"
#include "tile.h"

namespace arasfsr {

struct ForwardArguments {
    arasfsr_problem problem;
    Geometry geometry;
    arasfsr_kept kept;  // f is NULL where nothing is kept; s is then (crews, L, ARASFSR_TILE, NP) of scratch
    float* out;
    const unsigned char* stream;  // the weights as stream.h orders them, for a kernel that takes them so
};

// What a content row is, apart from its activations.
struct alignas(16) Row {
    int64_t latent;  // where its row of the latent starts, in numbers, counted over all images
    Point rel, cell;
    float share;
};

struct alignas(16) Four {
    float of[4];
};

// Biases and output weights, read in pairs by all threads: where the call has them, or in a copy in shared memory.
struct InGlobal {
    const float* numbers;
    ARASFSR_DEVICE hw::Two operator()(int at) const { return hw::load_constant(numbers + at); }
};
struct InShared {
    const float* numbers;
    ARASFSR_DEVICE hw::Two operator()(int at) const { return *reinterpret_cast<const hw::Two*>(numbers + at); }
};

// Whether a kernel keeps what the backward takes: for all calls, for none, or as the call's arguments say.
enum class Keeps { ALWAYS, NEVER, AS_TOLD };

// Activations of type T, NP wide, of ROWS content rows, held by F in shared memory. A Crew is the threads that work
// together: how many, which of them this is, and their barrier.
template <class T, int NP, int ROWS, class Crew, class F, Keeps KEEPS = Keeps::AS_TOLD>
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
        return KEEPS == Keeps::AS_TOLD ? kept.f != nullptr : KEEPS == Keeps::ALWAYS;
    }

    // Where s of a layer, from 0 on, lies for a tile: kept, or in the scratch of the crew that has it in hand.
    ARASFSR_DEVICE Number* s_of(int64_t crew, int64_t tile, int layer) const {
        const int64_t number = keeps() ? layer * kept.tiles + tile : crew * problem.layers + layer;
        return static_cast<Number*>(kept.s) + place(number);
    }

    // Where its derivatives lie, if they are kept.
    ARASFSR_DEVICE Number* cosines_of(int64_t tile, int layer) const {
        return static_cast<Number*>(kept.cosines) + place(layer * kept.tiles + tile);
    }

    // The Fourier encoding of a tile's queries, to the first columns of f.
    ARASFSR_DEVICE void encode(int64_t tile) const {
        constexpr int SHARE = Crew::THREADS / ARASFSR_TILE, COLUMNS = ARASFSR_ENCODING / SHARE;
        const int thread = Crew::thread(), row = thread / SHARE, first = thread % SHARE * COLUMNS;
        const Point at = coordinates(call.geometry, number(tile * ARASFSR_TILE + row));
#pragma unroll 4
        for (int column = first; column < first + COLUMNS; column += 2) {
            f.pair(row, column) = hw::pack<T>(fourier_encoding<T>(at, column), fourier_encoding<T>(at, column + 1));
        }
    }

    // s = sin(angle + bias), to f; the cosines, if they are kept, to (ARASFSR_TILE, NP) numbers.
    template <class Sum, class Bias>
    ARASFSR_DEVICE void modulation(Sum& angles, const Bias& bias, Number* cosines) const {
        angles.store(f, bias, [&](int row, int column, float x, float y, hw::Two add) {
            const Angle<T> angle_x(x + add.x), angle_y(y + add.y);
            if (keeps()) {
                *reinterpret_cast<hw::Pair<T>*>(cosines + row * NP + column) =
                    hw::pack<T>(angle_x.cosine(), angle_y.cosine());
            }
            return hw::pack<T>(angle_x.sine(), angle_y.sine());
        });
    }

    // What the part's rows are, from query `start` of the chunk on; kept, if anything is.
    ARASFSR_DEVICE void find_rows(int64_t start, int which) const {
        const int row = Crew::thread();
        if (row >= ROWS) return;
        const int64_t query = number(start + row / CORNERS);
        const Corner found = corner(call.geometry, coordinates(call.geometry, query), row % CORNERS);
        const int64_t cell = image_of(query, which) * call.geometry.pixels() + found.cell;
        Row result{cell * problem.width, {found.rel_y, found.rel_x}, {0.0f, 0.0f}, found.share};
        if (problem.cell != nullptr) result.cell = {problem.cell[2 * query], problem.cell[2 * query + 1]};
        rows[row] = result;
        if (!keeps()) return;
        const int64_t to = kept_row(start, which) + row;
        kept.cells[to] = cell;
        kept.rel[2 * to] = found.rel_y;
        kept.rel[2 * to + 1] = found.rel_x;
        kept.share[to] = found.share;
    }

    // What of a part's picture does not depend on the network: the output's bias, and the skip. By threads that find no
    // row, so that the crew does both at the same time.
    ARASFSR_DEVICE void find_skip(int64_t start, int which) const {
        static_assert(ROWS + QUERIES * 3 <= Crew::THREADS, "a thread has a row or a colour");
        const int i = Crew::thread() - ROWS;
        if (i < 0 || i >= QUERIES * 3) return;
        const int channel = i % 3;
        const int64_t query = number(start + i / 3);
        float value = problem.output_bias[channel];
        if (problem.image != nullptr) {
            const float* plane = problem.image + (image_of(query, which) * 3 + channel) * call.geometry.pixels();
            value += bilinear(plane, call.geometry, coordinates(call.geometry, query));
        }
        skips[i] = value;
    }

    // f, which is f_layer.
    ARASFSR_DEVICE void keep_f(int64_t start, int which, int layer) const {
        store_tile<ROWS, Crew>(kept_f(start, which, layer), f);
    }

    // Where it is kept.
    ARASFSR_DEVICE Number* kept_f(int64_t start, int which, int layer) const {
        const int64_t all_rows = problem.images * kept.tiles * (ARASFSR_TILE * CORNERS);
        return static_cast<Number*>(kept.f) + ((layer - 1) * all_rows + kept_row(start, which)) * NP;
    }

    // f_1 = relu(G[cell] + I0_rel rel [+ I0_cell cell]).
    ARASFSR_DEVICE void first_layer() const {
        if (problem.width % 4 == 0) {
            first_layer_of([this](const float* from, int column) { return aligned_latent(from, column); });
        } else {
            first_layer_of([this](const float* from, int column) { return latent(from, column); });
        }
    }

    // The next layer's f = relu(product + bias).
    template <class Sum, class Bias>
    ARASFSR_DEVICE void hidden_layer(Sum& product, const Bias& bias) const {
        product.store(f, bias, [](int, int, float x, float y, hw::Two add) {
            return hw::pack<T>(hw::relu(x + add.x), hw::relu(y + add.y));
        });
    }

    // sum over corners of share * O (f_L * s_L), + skip, to the picture.
    template <class Weights>
    ARASFSR_DEVICE void output_layer(int64_t start, int which, const Weights& weights) const {
        constexpr int STEPS = NP / (2 * hw::WARP), WARPS = Crew::THREADS / hw::WARP, OWN = QUERIES / WARPS;
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
        float sums[OWN * 3] = {};
#pragma unroll
        for (int own = 0; own < OWN; ++own) {
            const int query = thread / hw::WARP + own * WARPS;
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
                    sums[own * 3 + channel] += x * weight[channel][i].x + y * weight[channel][i].y;
                }
            }
        }
        hw::warp_sums(sums);
#pragma unroll
        for (int own = 0; own < OWN; ++own) {
            const int query = thread / hw::WARP + own * WARPS;
            if (lane >= 3) continue;
            const float sum = lane == 0 ? sums[own * 3] : lane == 1 ? sums[own * 3 + 1] : sums[own * 3 + 2];
            to_picture(start, which, query, lane, sum);
        }
    }

    // A colour of one of the part's queries, without what find_skip has found.
    ARASFSR_DEVICE void to_picture(int64_t start, int which, int query, int channel, float colour) const {
        if (start + query >= kept.count) return;
        const int64_t pixel = which * problem.queries + kept.first + start + query;
        call.out[pixel * 3 + channel] = colour + skips[query * 3 + channel];
    }

    const F f;
    const Tile<NP, Number> s;
    Row* const rows;

  private:
    // Of tiles' s, in numbers.
    static ARASFSR_DEVICE int64_t place(int64_t number) { return number * (ARASFSR_TILE * NP); }

    // The first row, among all that are kept, of the part that starts at that query of the chunk.
    ARASFSR_DEVICE int64_t kept_row(int64_t start, int which) const {
        return (which * kept.tiles * ARASFSR_TILE + start) * CORNERS;
    }

    // The number of a chunk's query among all of an image; of one that does not exist, the first one's.
    ARASFSR_DEVICE int64_t number(int64_t query) const { return kept.first + (query < kept.count ? query : 0); }

    ARASFSR_DEVICE int64_t image_of(int64_t number, int which) const {
        return problem.per_image > 0 ? number / problem.per_image : which;
    }

    // `latent_of` has four numbers, from a place and a column. As many rows as are loaded before the first of
    // them is used share the time that memory takes to answer.
    template <class LatentOf>
    ARASFSR_DEVICE void first_layer_of(const LatentOf& latent_of) const {
        constexpr int ACROSS = NP / 4, DOWN = Crew::THREADS / ACROSS, OWN = ROWS / DOWN;
        constexpr int AT_ONCE = OWN < 8 ? OWN : 8;
        static_assert(OWN % AT_ONCE == 0, "every thread takes as many rows at once");
        const int thread = Crew::thread(), column = thread % ACROSS * 4;
        const float* latent = problem.latent + column;
        const bool cells = problem.cell != nullptr;
        const Four rel_y = four(problem.rel_weight + column), rel_x = four(problem.rel_weight + NP + column);
        Four cell_y{}, cell_x{};
        if (cells) {
            cell_y = four(problem.cell_weight + column);
            cell_x = four(problem.cell_weight + NP + column);
        }
#pragma unroll 1
        for (int turn = 0; turn < OWN / AT_ONCE; ++turn) {
            const int first = thread / ACROSS + turn * (AT_ONCE * DOWN);
            Row at[AT_ONCE];
            Four z[AT_ONCE];
#pragma unroll
            for (int i = 0; i < AT_ONCE; ++i) at[i] = rows[first + i * DOWN];
#pragma unroll
            for (int i = 0; i < AT_ONCE; ++i) z[i] = latent_of(latent + at[i].latent, column);
#pragma unroll
            for (int i = 0; i < AT_ONCE; ++i) {
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    z[i].of[j] = z[i].of[j] + at[i].rel.y * rel_y.of[j] + at[i].rel.x * rel_x.of[j];
                }
            }
            if (cells) {  // one branch around all of them
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
                for (int j = 0; j < 4; ++j) z[i].of[j] = hw::relu(z[i].of[j]);
                f.pairs(first + i * DOWN, column) = {hw::pack<T>(z[i].of[0], z[i].of[1]),
                                                     hw::pack<T>(z[i].of[2], z[i].of[3])};
            }
        }
    }

    // Four of a latent's numbers, zero beyond the width.
    ARASFSR_DEVICE Four latent(const float* from, int column) const {
        Four result;
#pragma unroll
        for (int i = 0; i < 4; ++i) result.of[i] = column + i < problem.width ? from[i] : 0.0f;
        return result;
    }

    // The same where the width is a multiple of four.
    ARASFSR_DEVICE Four aligned_latent(const float* from, int column) const {
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
