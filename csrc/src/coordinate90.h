// Kernel for compute capability 9.0a: the backward of the coordinate branch at a padded width of 256, from the
// gradients of s = modulation(angle) to those of the angles.
//
// A consumer processes one tile of 64 queries after another, from the last layer to the first, with transposed weights.
#ifndef ARASFSR_COORDINATE90_H
#define ARASFSR_COORDINATE90_H

#include "activation.h"
#include "streaming.h"

namespace arasfsr {

struct CoordinateArguments {
    arasfsr_problem problem;
    arasfsr_kept kept;
    const float* s;  // gradients from the content branch, (L, Q, NP)
    const unsigned char* stream;
};

template <class T>
class Coordinate90 {
    static constexpr int NP = Stream::OUTPUTS;

    struct Layout {  // of shared memory; the operands of wgmma come first, which need an alignment of 1024 bytes
        static constexpr int angles = 0;
        static constexpr int ring = angles + CONSUMERS * Rows::BYTES;
        static constexpr int barriers = ring + StreamRing::BYTES;
        static constexpr int end = barriers + static_cast<int>(sizeof(StreamRing::Barriers));
    };

  public:
    static constexpr int SHARED_BYTES = Layout::end, QUERIES = ARASFSR_TILE;
    static_assert(Layout::ring % 1024 == 0, "swizzles repeat every 1024 bytes");

    explicit ARASFSR_DEVICE Coordinate90(const CoordinateArguments& arguments)
        : call(arguments),
          angles{hw::shared() + Layout::angles + consumer_index() * Rows::BYTES},
          ring(hw::shared() + Layout::ring, hw::shared() + Layout::barriers) {}

    ARASFSR_DEVICE void run() {
        run_cluster(
            ring, [&] { return call.kept.tiles; }, [&] { ring.fill(call.stream, 0, stages()); },
            [&](int64_t tile) { consume(tile); });
    }

  private:
    ARASFSR_DEVICE int stages() const { return CoordinateStream::of(call.problem).stages(); }

    ARASFSR_DEVICE void consume(int64_t tile) {
        if (tile >= call.kept.tiles) {
            ring.drain(stages());
            return;
        }
        const int last = call.problem.layers - 1;
        {
            Accumulators nothing;
#pragma unroll
            for (int i = 0; i < hw::ACCUMULATORS; ++i) nothing.numbers[i] = 0.0f;
            finish_layer(nothing, tile, last);
        }
        for (int layer = last - 1; layer >= 0; --layer) {
            Accumulators total;
            StreamedProduct<T>(ring).template multiply<Stream::PANELS, false>(total, angles);
            finish_layer(total, tile, layer);
        }
    }

    ARASFSR_DEVICE void finish_layer(Accumulators& total, int64_t tile, int layer) const {
        Warpgroup::barrier();  // all have stored the angles' gradients and finished their products
        through_modulation(total, at(tile, layer));
        Warpgroup::publish();
        store_tile<ARASFSR_TILE, Warpgroup>(static_cast<uint16_t*>(call.kept.cosines) + at(tile, layer), angles);
        if (layer > 0) prefetch(at(tile, layer - 1));
    }

    // Two rows of a pair of columns, eight rows apart.
    struct Four {
        hw::Two of_s[2];
        uint32_t cosines[2];
    };

    // From the gradient of s, to which `total` is the contribution of the layer above, to that of the angle. The loads
    // of the next batch run while a batch is computed.
    ARASFSR_DEVICE void through_modulation(Accumulators& total, int64_t first) const {
        constexpr int BATCH = 4, BATCHES = hw::ACCUMULATORS / 4 / BATCH;
        const int thread = Warpgroup::thread(), lane = thread % hw::WARP;
        const int row = thread / hw::WARP * 16 + lane / 4, column = lane % 4 * 2;
        const float* of_s = call.s + first + row * NP + column;
        const uint16_t* cosines = static_cast<const uint16_t*>(call.kept.cosines) + first + row * NP + column;
        const auto load = [&](Four(&to)[BATCH], int batch) {
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
#pragma unroll
                for (int j = 0; j < 2; ++j) {
                    const int place = j * 8 * NP + (batch * BATCH + i) * 8;
                    to[i].of_s[j] = hw::load_here(of_s + place);
                    to[i].cosines[j] = hw::load_here_once(cosines + place);
                }
            }
        };
        Four four[2][BATCH];
        load(four[0], 0);
#pragma unroll
        for (int batch = 0; batch < BATCHES; ++batch) {
            if (batch + 1 < BATCHES) load(four[(batch + 1) % 2], batch + 1);
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
#pragma unroll
                for (int j = 0; j < 2; ++j) {
                    const Four& at = four[batch % 2][i];
                    const float* numbers = total.numbers + (batch * BATCH + i) * 4 + j * 2;
                    const hw::Two grad{numbers[0] + at.of_s[j].x, numbers[1] + at.of_s[j].y};
                    const float x = modulation_backward(hw::lower<T>(at.cosines[j]), grad.x);
                    const float y = modulation_backward(hw::upper<T>(at.cosines[j]), grad.y);
                    angles.pair(row + j * 8, column + (batch * BATCH + i) * 8) = hw::pack<T>(x, y);
                }
            }
        }
    }

    // The offset of a tile in a layer of s.
    ARASFSR_DEVICE int64_t at(int64_t tile, int layer) const {
        return (layer * call.kept.tiles + tile) * (ARASFSR_TILE * NP);
    }

    // One thread starts to prefetch a layer's inputs into the L2 cache.
    ARASFSR_DEVICE void prefetch(int64_t first) const {
        if (Warpgroup::thread() > 0) return;
        hw::prefetch(call.s + first, ARASFSR_TILE * NP * 4);
        hw::prefetch(static_cast<const uint16_t*>(call.kept.cosines) + first, ARASFSR_TILE * NP * 2);
    }

    const CoordinateArguments& call;
    const Rows angles;
    StreamRing ring;
};

template <class T>
ARASFSR_KERNEL(STREAMING_THREADS, 1) coordinate90(const ARASFSR_PARAMETER CoordinateArguments arguments) {
    Coordinate90<T>(arguments).run();
}

}  // namespace arasfsr
#endif
