// Matrices in shared memory, laid out so that rows that are read together are in different banks.
#ifndef ARASFSR_TILE_H
#define ARASFSR_TILE_H

#include <type_traits>

#include "hw.h"

namespace arasfsr {

constexpr int CHUNK_BYTES = 16;  // copied and read at once
constexpr int CHUNK = 8;         // 16-bit numbers of a chunk

// Two pairs of numbers, stored at once.
template <class PAIR>
struct alignas(2 * sizeof(PAIR)) Pairs {
    PAIR first, second;
};

// Rows of COLUMNS numbers of 16 bits, or floats. The chunks of each 128 bytes of a row are permuted, depending on the
// row, so that the same chunk of eight consecutive rows is spread over all banks.
template <int COLUMNS, class NUMBER = uint16_t>
struct Tile {
    using Pair = std::conditional_t<sizeof(NUMBER) == 2, uint32_t, hw::Two>;
    static constexpr int NUMBERS = CHUNK_BYTES / static_cast<int>(sizeof(NUMBER));  // of a chunk
    static constexpr int CHUNKS = COLUMNS / NUMBERS;
    static constexpr int PERMUTED = CHUNKS < 8 ? CHUNKS : 8;
    static_assert(8 % PERMUTED == 0 && CHUNKS % PERMUTED == 0, "rows of a power of two of chunks, or of many eights");

    static constexpr int bytes(int rows) { return rows * CHUNKS * CHUNK_BYTES; }

    unsigned char* base;

    ARASFSR_DEVICE unsigned char* chunk(int row, int index) const {
        const int place = index ^ (row / (8 / PERMUTED) % PERMUTED);
        return base + (row * CHUNKS + place) * CHUNK_BYTES;
    }

    ARASFSR_DEVICE NUMBER& number(int row, int column) const {
        return reinterpret_cast<NUMBER*>(chunk(row, column / NUMBERS))[column % NUMBERS];
    }

    // Two numbers side by side, the first at an even column.
    ARASFSR_DEVICE Pair& pair(int row, int column) const { return *reinterpret_cast<Pair*>(&number(row, column)); }

    // Four numbers, the first at a column divisible by four. A warp that stores adjacent fours uses every bank, where
    // stores of pairs would conflict in every second one.
    ARASFSR_DEVICE Pairs<Pair>& pairs(int row, int column) const {
        return *reinterpret_cast<Pairs<Pair>*>(&number(row, column));
    }
};

// ROWS rows of COLUMNS numbers in panels of 64 columns, each of them a Tile: the 128-byte swizzle of the PTX ISA, if
// the base is aligned to 1024 bytes.
template <int ROWS, int COLUMNS>
struct Panels {
    using Panel = Tile<64>;
    static constexpr int CHUNKS = COLUMNS / CHUNK;
    static constexpr int PANEL_BYTES = Panel::bytes(ROWS), BYTES = ROWS * COLUMNS * 2;

    unsigned char* base;

    ARASFSR_DEVICE Panel panel(int index) const { return {base + index * PANEL_BYTES}; }

    ARASFSR_DEVICE unsigned char* chunk(int row, int index) const {
        return panel(index / Panel::CHUNKS).chunk(row, index % Panel::CHUNKS);
    }

    ARASFSR_DEVICE uint32_t& pair(int row, int column) const { return panel(column / 64).pair(row, column % 64); }

    ARASFSR_DEVICE Pairs<uint32_t>& pairs(int row, int column) const {
        return panel(column / 64).pairs(row, column % 64);
    }
};

struct alignas(16) Chunk {
    uint32_t pairs[4];
};

// The threads of a crew copy the first ROWS rows to a dense matrix in global memory.
template <int ROWS, class Crew, class Matrix>
ARASFSR_DEVICE void store_tile(void* to, const Matrix& tile) {
    constexpr int CHUNKS = Matrix::CHUNKS, THREADS = Crew::THREADS;
    static_assert(ROWS * CHUNKS % THREADS == 0, "every thread must copy as many chunks");
    const int thread = Crew::thread();
#pragma unroll 4
    for (int i = 0; i < ROWS * CHUNKS / THREADS; ++i) {
        const int index = thread + i * THREADS;
        static_cast<Chunk*>(to)[index] =
            *reinterpret_cast<const Chunk*>(tile.chunk(index / CHUNKS, index % CHUNKS));
    }
}

// The threads of a crew copy a dense matrix from global memory to the first ROWS rows, asynchronously.
template <int ROWS, class Crew, class Matrix>
ARASFSR_DEVICE void fetch_tile(const Matrix& tile, const void* from) {
    constexpr int CHUNKS = Matrix::CHUNKS, THREADS = Crew::THREADS;
    static_assert(ROWS * CHUNKS % THREADS == 0, "every thread must copy as many chunks");
    const int thread = Crew::thread();
#pragma unroll 4
    for (int i = 0; i < ROWS * CHUNKS / THREADS; ++i) {
        const int index = thread + i * THREADS;
        hw::copy16(tile.chunk(index / CHUNKS, index % CHUNKS), static_cast<const Chunk*>(from) + index);
    }
}

}  // namespace arasfsr
#endif
