// The hardware: every instruction without an equivalent in C++, with a body for the device and one for the emulation.
#ifndef ARASFSR_HW_H
#define ARASFSR_HW_H

#include <cmath>
#include <cstdint>

#ifdef ARASFSR_EMULATE
#include "../emulation/instructions.h"
#define ARASFSR_DEVICE inline
#define ARASFSR_HOST_DEVICE inline
#define ARASFSR_KERNEL(threads, blocks) inline void
#define ARASFSR_PARAMETER
#else
#define ARASFSR_DEVICE __device__ __forceinline__
#define ARASFSR_HOST_DEVICE __host__ __device__ __forceinline__
#define ARASFSR_KERNEL(threads, blocks) __global__ void __launch_bounds__(threads, blocks)
#define ARASFSR_PARAMETER __grid_constant__
#endif

namespace arasfsr {

// The formats of activations and weights: 16 bits wide, or float32 of which products read only the ten bits of TF32's
// mantissa. Numbers are handled in pairs; the lower half of a register comes first.
struct Bfloat16 {};
struct Float16 {};
struct Tf32 {};

namespace hw {

constexpr int WARP = 32;

// Arithmetic that is rounded after each operation: the compiler cannot contract it.
#if defined(__CUDA_ARCH__)
ARASFSR_HOST_DEVICE float multiply(float x, float y) { return __fmul_rn(x, y); }
ARASFSR_HOST_DEVICE float add(float x, float y) { return __fadd_rn(x, y); }
ARASFSR_HOST_DEVICE float divide(float x, float y) { return __fdiv_rn(x, y); }
ARASFSR_HOST_DEVICE float fused(float x, float y, float z) { return __fmaf_rn(x, y, z); }  // x y + z
#else
ARASFSR_HOST_DEVICE float multiply(float x, float y) {
    volatile float product = x * y;  // goes through memory, so that no compiler flag fuses it with a sum
    return product;
}
ARASFSR_HOST_DEVICE float add(float x, float y) { return x + y; }
ARASFSR_HOST_DEVICE float divide(float x, float y) { return x / y; }
ARASFSR_HOST_DEVICE float fused(float x, float y, float z) { return std::fma(x, y, z); }
#endif

struct alignas(8) Two {
    float x, y;
};

template <class T>
struct Format {
    using Number = uint16_t;
    using Pair = uint32_t;
};
template <>
struct Format<Tf32> {
    using Number = float;
    using Pair = Two;
};
template <class T>
using Pair = typename Format<T>::Pair;

#ifdef ARASFSR_EMULATE

inline int thread() { return emulation::thread(); }
inline int64_t block() { return emulation::block(); }
inline int64_t blocks() { return emulation::blocks(); }
inline unsigned char* shared() { return emulation::shared(); }
inline void barrier() { emulation::barrier(); }

inline float relu(float x) { return x < 0.0f ? 0.0f : x; }

inline float fast_sine(float x) { return emulation::as_coarse_as_the_unit(std::sin(x)); }
inline float fast_cosine(float x) { return emulation::as_coarse_as_the_unit(std::cos(x)); }

inline Two load_constant(const float* from) { return {from[0], from[1]}; }
inline void load_constant(float (&result)[4], const float* from) {
    for (int i = 0; i < 4; ++i) result[i] = from[i];
}
inline uint32_t load_constant(const uint16_t* from) { return *reinterpret_cast<const uint32_t*>(from); }
inline uint32_t load_here(const uint16_t* from) { return load_constant(from); }
inline Two load_here(const float* from) { return load_constant(from); }
inline uint32_t load_here_once(const uint16_t* from) { return load_constant(from); }

inline void atomic_add(float* to, float x) { *to += x; }
inline void atomic_add(float* to, Two x) {
    to[0] += x.x;
    to[1] += x.y;
}

inline void copy16(void* to, const void* from) { emulation::copy_async(to, from, 16); }
inline void copy_commit() { emulation::copy_commit(); }
template <int PENDING>
void copy_wait() {
    emulation::copy_wait(PENDING);
}

inline void load_matrices(uint32_t (&result)[4], const void* row) {
    emulation::Ldmatrix operands{result, row, false};
    emulation::collective("ldmatrix", &operands, emulation::ldmatrix);
}
inline void load_matrices_transposed(uint32_t (&result)[4], const void* row) {
    emulation::Ldmatrix operands{result, row, true};
    emulation::collective("ldmatrix.trans", &operands, emulation::ldmatrix);
}

inline float from_16(Bfloat16, uint16_t x) { return emulation::from_bfloat16(x); }
inline float from_16(Float16, uint16_t x) { return emulation::from_float16(x); }
inline uint16_t to_16(Bfloat16, float x) { return emulation::to_bfloat16(x); }
inline uint16_t to_16(Float16, float x) { return emulation::to_float16(x); }

template <class T>
uint32_t pack_as(T, float lower, float upper) {
    return to_16(T{}, lower) | static_cast<uint32_t>(to_16(T{}, upper)) << 16;
}
template <class T>
float lower_as(T, uint32_t pair) {
    return from_16(T{}, static_cast<uint16_t>(pair));
}
template <class T>
float upper_as(T, uint32_t pair) {
    return from_16(T{}, static_cast<uint16_t>(pair >> 16));
}
template <class T>
uint32_t multiply_as(T, uint32_t x, uint32_t y) {  // exact in float32, so rounded once
    return pack_as(T{}, lower_as(T{}, x) * lower_as(T{}, y), upper_as(T{}, x) * upper_as(T{}, y));
}
inline uint32_t to_tf32(float x) { return emulation::to_tf32(x); }
inline uint32_t bits(float x) { return emulation::bits_of(x); }
inline float from_bits(uint32_t bits) { return emulation::float_of(bits); }

inline void mma(Bfloat16, float (&total)[4], const uint32_t (&a)[4], const uint32_t* b) {
    emulation::Mma operands{total, a, b};
    emulation::collective("mma.bf16", &operands, emulation::mma<emulation::from_bfloat16>);
}
inline void mma(Float16, float (&total)[4], const uint32_t (&a)[4], const uint32_t* b) {
    emulation::Mma operands{total, a, b};
    emulation::collective("mma.f16", &operands, emulation::mma<emulation::from_float16>);
}
inline void mma(Tf32, float (&total)[4], const uint32_t (&a)[4], const uint32_t* b) {
    emulation::Mma operands{total, a, b};
    emulation::collective("mma.tf32", &operands, emulation::mma_tf32);
}

inline float shuffle_xor(float value, int mask) {
    emulation::Shuffle operands{value, 0.0f, mask};
    emulation::collective("shfl.bfly", &operands, emulation::shuffle_xor);
    return operands.result;
}

#else

// The thread's index, opaque to the compiler: it cannot keep what it has computed from the result of one call for that
// of another, so that the addresses of one phase of a kernel do not occupy registers in the next. Call it once per
// phase.
ARASFSR_DEVICE int thread() {
    int index = static_cast<int>(threadIdx.x);
    asm volatile("" : "+r"(index));
    __builtin_assume(index >= 0);  // otherwise quotients and remainders handle negative values
    return index;
}
ARASFSR_DEVICE int64_t block() { return blockIdx.x; }
ARASFSR_DEVICE int64_t blocks() { return gridDim.x; }
ARASFSR_DEVICE unsigned char* shared() {
    extern __shared__ __align__(1024) unsigned char memory[];  // the period of wgmma's swizzle
    return memory;
}
ARASFSR_DEVICE void barrier() { __syncthreads(); }

ARASFSR_DEVICE uint32_t shared_address(const void* pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// ReLU that propagates NaN.
ARASFSR_DEVICE float relu(float x) {
    float result;
    asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(result) : "f"(x));
    return result;
}

// By the special-function unit: in [-pi, pi] with an absolute error of at most 2^-20.5.
ARASFSR_DEVICE float fast_sine(float x) {
    float result;
    asm("sin.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}
ARASFSR_DEVICE float fast_cosine(float x) {
    float result;
    asm("cos.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

// Loads two numbers that no thread writes while the kernel runs, aligned to 8 bytes: the compiler may move the load
// ahead of any store.
ARASFSR_DEVICE Two load_constant(const float* from) {
    Two result;
    asm("ld.global.nc.v2.f32 {%0, %1}, [%2];" : "=f"(result.x), "=f"(result.y) : "l"(from));
    return result;
}
// The same for four, aligned to 16 bytes.
ARASFSR_DEVICE void load_constant(float (&result)[4], const float* from) {
    asm("ld.global.nc.v4.f32 {%0, %1, %2, %3}, [%4];"
        : "=f"(result[0]), "=f"(result[1]), "=f"(result[2]), "=f"(result[3])
        : "l"(from));
}

ARASFSR_DEVICE uint32_t load_constant(const uint16_t* from) {
    uint32_t result;
    asm("ld.global.nc.b32 %0, [%1];" : "=r"(result) : "l"(from));
    return result;
}
// The same, but not moved by the compiler, for example ahead of products.
ARASFSR_DEVICE uint32_t load_here(const uint16_t* from) {
    uint32_t result;
    asm volatile("ld.global.nc.b32 %0, [%1];" : "=r"(result) : "l"(from));
    return result;
}
ARASFSR_DEVICE Two load_here(const float* from) {
    Two result;
    asm volatile("ld.global.nc.v2.f32 {%0, %1}, [%2];" : "=f"(result.x), "=f"(result.y) : "l"(from));
    return result;
}
// The same for numbers that are overwritten later.
ARASFSR_DEVICE uint32_t load_here_once(const uint16_t* from) {
    uint32_t result;
    asm volatile("ld.global.b32 %0, [%1];" : "=r"(result) : "l"(from));
    return result;
}

// Adds atomically to a number in global memory, or to two, the first at an even index.
ARASFSR_DEVICE void atomic_add(float* to, float x) { atomicAdd(to, x); }
ARASFSR_DEVICE void atomic_add(float* to, Two x) {
#if __CUDA_ARCH__ >= 900
    atomicAdd(reinterpret_cast<float2*>(to), make_float2(x.x, x.y));
#else
    atomicAdd(to, x.x);
    atomicAdd(to + 1, x.y);
#endif
}

// cp.async: copies 16 bytes to shared memory, where they are once the wait for its group returns.
ARASFSR_DEVICE void copy16(void* to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}
ARASFSR_DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int PENDING>
ARASFSR_DEVICE void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// ldmatrix: four 8 x 8 matrices; lane l points to row l % 8 of matrix l / 8.
ARASFSR_DEVICE void load_matrices(uint32_t (&result)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
                 : "r"(shared_address(row))
                 : "memory");
}
ARASFSR_DEVICE void load_matrices_transposed(uint32_t (&result)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// Conversions to and from the 16-bit formats, rounded to nearest even.
ARASFSR_DEVICE uint32_t pack_as(Bfloat16, float lower, float upper) {
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(upper), "f"(lower));
    return pair;
}
ARASFSR_DEVICE uint32_t pack_as(Float16, float lower, float upper) {
    uint32_t pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(upper), "f"(lower));
    return pair;
}
ARASFSR_DEVICE float lower_as(Bfloat16, uint32_t pair) { return __uint_as_float(pair << 16); }
ARASFSR_DEVICE float upper_as(Bfloat16, uint32_t pair) { return __uint_as_float(pair & 0xFFFF0000u); }
ARASFSR_DEVICE float from_float16(uint16_t x) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(x));
    return value;
}
ARASFSR_DEVICE float lower_as(Float16, uint32_t pair) { return from_float16(static_cast<uint16_t>(pair)); }
ARASFSR_DEVICE float upper_as(Float16, uint32_t pair) { return from_float16(static_cast<uint16_t>(pair >> 16)); }

ARASFSR_DEVICE uint32_t bits(float x) { return __float_as_uint(x); }
ARASFSR_DEVICE float from_bits(uint32_t bits) { return __uint_as_float(bits); }

// Rounds to nearest, ties away from zero.
ARASFSR_DEVICE uint32_t to_tf32(float x) {
    uint32_t result;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(result) : "f"(x));
    return result;
}

ARASFSR_DEVICE uint32_t multiply_as(Bfloat16, uint32_t x, uint32_t y) {
    uint32_t product;  // sm_80 has no such multiplication, only a fused multiply-add; adding -0 changes nothing
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(product) : "r"(x), "r"(y), "r"(0x80008000u));
    return product;
}
ARASFSR_DEVICE uint32_t multiply_as(Float16, uint32_t x, uint32_t y) {
    uint32_t product;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(product) : "r"(x), "r"(y));
    return product;
}

// total (16 x 8) += a (16 x 16) b (16 x 8), b given by columns; in TF32 a is 16 x 8 and b 8 x 8.
ARASFSR_DEVICE void mma(Bfloat16, float (&total)[4], const uint32_t (&a)[4], const uint32_t* b) {
    asm(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(total[0]), "+f"(total[1]), "+f"(total[2]), "+f"(total[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
ARASFSR_DEVICE void mma(Float16, float (&total)[4], const uint32_t (&a)[4], const uint32_t* b) {
    asm(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(total[0]), "+f"(total[1]), "+f"(total[2]), "+f"(total[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

ARASFSR_DEVICE void mma(Tf32, float (&total)[4], const uint32_t (&a)[4], const uint32_t* b) {
    asm(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(total[0]), "+f"(total[1]), "+f"(total[2]), "+f"(total[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

ARASFSR_DEVICE float shuffle_xor(float value, int mask) { return __shfl_xor_sync(0xFFFFFFFFu, value, mask); }

#endif

ARASFSR_DEVICE Two pack_as(Tf32, float x, float y) { return {from_bits(to_tf32(x)), from_bits(to_tf32(y))}; }
ARASFSR_DEVICE float lower_as(Tf32, Two pair) { return pair.x; }
ARASFSR_DEVICE float upper_as(Tf32, Two pair) { return pair.y; }
ARASFSR_DEVICE uint32_t multiply_as(Tf32, uint32_t x, uint32_t y) { return to_tf32(from_bits(x) * from_bits(y)); }

// Packs two numbers into a pair, and unpacks them.
template <class T>
ARASFSR_DEVICE Pair<T> pack(float lower, float upper) {
    return pack_as(T{}, lower, upper);
}
template <class T>
ARASFSR_DEVICE float lower(Pair<T> pair) {
    return lower_as(T{}, pair);
}
template <class T>
ARASFSR_DEVICE float upper(Pair<T> pair) {
    return upper_as(T{}, pair);
}

// The elementwise product of two registers, of two numbers each, or of one in TF32.
template <class T>
ARASFSR_DEVICE uint32_t multiply_registers(uint32_t x, uint32_t y) {
    return multiply_as(T{}, x, y);
}

// The sum over all lanes, the same in each.
ARASFSR_DEVICE float warp_sum(float value) {
    for (int mask = WARP / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
    return value;
}

// The same for several numbers, whose sums are computed in parallel.
template <int COUNT>
ARASFSR_DEVICE void warp_sums(float (&values)[COUNT]) {
#pragma unroll
    for (int mask = WARP / 2; mask > 0; mask /= 2) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) values[i] += shuffle_xor(values[i], mask);
    }
}

// The sums over all lanes of as many numbers as half a warp has lanes; lane l gets that of number l / 2.
template <int COUNT>
ARASFSR_DEVICE float warp_sums_apart(const float (&values)[COUNT]) {
    if constexpr (COUNT == 1) {
        return values[0] + shuffle_xor(values[0], 1);
    } else {
        const bool upper = thread() % WARP & COUNT;
        float kept[COUNT / 2];  // sums of this lane's and its partner's
#pragma unroll
        for (int i = 0; i < COUNT / 2; ++i) {
            const float low = values[i], high = values[i + COUNT / 2];
            kept[i] = (upper ? high : low) + shuffle_xor(upper ? low : high, COUNT);
        }
        return warp_sums_apart(kept);
    }
}

}  // namespace hw
}  // namespace arasfsr
#endif
