// Kernel: the backward of the first layer, from the gradient of z_1 to those of the LR map and of the weight of rel.
//
// A block processes the queries of a tile, a warp one of their four corners. Neighbouring queries of a grid have the
// same LR pixel, so a warp sums over a run of rows with the same row of the LR map before it adds to the map.
#include "kernels.h"

namespace arasfsr {
namespace {

struct ScatterArguments {
    arasfsr_problem problem;
    arasfsr_kept kept;
    const void* z;
    float *lr_map, *rel;
};

constexpr int SCATTER_THREADS = CORNERS * hw::WARP;

template <class T, int NP>
class Scatter {
    using Number = typename hw::Format<T>::Number;
    static constexpr int PAIRS = NP / (2 * hw::WARP);  // of a lane, in a row
    static constexpr int AT_ONCE = 16 / PAIRS;         // rows that are loaded together
    static_assert(ARASFSR_TILE % AT_ONCE == 0, "a tile must be whole batches");

  public:
    static constexpr int SHARED_BYTES = CORNERS * 2 * NP * static_cast<int>(sizeof(float));

    explicit ARASFSR_DEVICE Scatter(const ScatterArguments& arguments)
        : call(arguments), lane(hw::thread() % hw::WARP), corner(hw::thread() / hw::WARP) {}

    ARASFSR_DEVICE void run() {
        const int64_t first = hw::block() * (ARASFSR_TILE * CORNERS) + corner;
        int64_t lr_row = -1;
        for (int query = 0; query < ARASFSR_TILE; query += AT_ONCE) {
            hw::Pair<T> z[AT_ONCE][PAIRS];
            int64_t lr_rows[AT_ONCE];
            hw::Two rel[AT_ONCE];
#pragma unroll
            for (int i = 0; i < AT_ONCE; ++i) {
                const int64_t row = first + (query + i) * CORNERS;
                const Number* numbers = static_cast<const Number*>(call.z) + row * NP;
                lr_rows[i] = call.kept.lr_rows[row];
                rel[i] = reinterpret_cast<const hw::Two*>(call.kept.rel)[row];
#pragma unroll
                for (int j = 0; j < PAIRS; ++j) {
                    z[i][j] = *reinterpret_cast<const hw::Pair<T>*>(numbers + column(j));
                }
            }
#pragma unroll
            for (int i = 0; i < AT_ONCE; ++i) {
                if (lr_rows[i] != lr_row) {
                    if (lr_row >= 0) add_to(lr_row);
                    lr_row = lr_rows[i];
                }
#pragma unroll
                for (int j = 0; j < PAIRS; ++j) {
                    const hw::Two of{hw::lower<T>(z[i][j]), hw::upper<T>(z[i][j])};
                    add(sums[j], of, 1.0f);
                    add(of_y[j], of, rel[i].x);  // rel is (y, x)
                    add(of_x[j], of, rel[i].y);
                }
            }
        }
        add_to(lr_row);
        sum_corners();
    }

  private:
    ARASFSR_DEVICE int column(int j) const { return 2 * (lane + j * hw::WARP); }

    static ARASFSR_DEVICE void add(hw::Two& sum, const hw::Two& of, float times) {
        sum.x += of.x * times;
        sum.y += of.y * times;
    }

    ARASFSR_DEVICE void add_to(int64_t lr_row) {
        const int width = call.problem.width;
#pragma unroll
        for (int j = 0; j < PAIRS; ++j) {
            float* to = call.lr_map + lr_row * width + column(j);
            if (width % 2 == 0) {
                if (column(j) < width) hw::atomic_add(to, sums[j]);
            } else {
                if (column(j) < width) hw::atomic_add(to, sums[j].x);
                if (column(j) + 1 < width) hw::atomic_add(to + 1, sums[j].y);
            }
            sums[j] = {};
        }
    }

    // Adds the four warps' gradients of the weight of rel, (2, NP), in a fixed order.
    ARASFSR_DEVICE void sum_corners() const {
        float* const all = reinterpret_cast<float*>(hw::shared());
#pragma unroll
        for (int j = 0; j < PAIRS; ++j) {
            *reinterpret_cast<hw::Two*>(all + corner * 2 * NP + column(j)) = of_y[j];
            *reinterpret_cast<hw::Two*>(all + corner * 2 * NP + NP + column(j)) = of_x[j];
        }
        hw::barrier();
        for (int i = hw::thread(); i < 2 * NP; i += SCATTER_THREADS) {
            float sum = all[i];
            for (int v = 1; v < CORNERS; ++v) sum += all[v * 2 * NP + i];
            call.rel[hw::block() * 2 * NP + i] = sum;
        }
    }

    const ScatterArguments& call;
    const int lane, corner;
    hw::Two sums[PAIRS]{}, of_y[PAIRS]{}, of_x[PAIRS]{};
};

template <class T, int NP>
ARASFSR_KERNEL(SCATTER_THREADS, 1) scatter_kernel(const ARASFSR_PARAMETER ScatterArguments arguments) {
    Scatter<T, NP>(arguments).run();
}

template <class T, int NP>
Kernel<ScatterArguments> scatter_of() {
    return {&scatter_kernel<T, NP>, Scatter<T, NP>::SHARED_BYTES, ARASFSR_TILE, SCATTER_THREADS};
}

template <class T>
Kernel<ScatterArguments> scatter_for(int padded) {
    return padded == 64 ? scatter_of<T, 64>() : padded == 128 ? scatter_of<T, 128>() : scatter_of<T, 256>();
}

}  // namespace

arasfsr_status scatter(const arasfsr_problem& problem, const arasfsr_kept& kept, const void* z, float* lr_map,
                       float* rel) {
    const Kernel<ScatterArguments> kernel = problem.dtype == ARASFSR_TF32       ? scatter_for<Tf32>(problem.padded)
                                            : problem.dtype == ARASFSR_BFLOAT16 ? scatter_for<Bfloat16>(problem.padded)
                                                                                : scatter_for<Float16>(problem.padded);
    return launch(kernel, "arasfsr_scatter", problem.images * kept.tiles, problem.stream,
                  {problem, kept, z, lr_map, rel});
}

}  // namespace arasfsr
