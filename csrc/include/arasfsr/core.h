/* The native core of arasfsr: the query operator in CUDA, behind pointers, sizes and a stream.
 *
 * It depends on neither torch nor Python. Pointers refer to memory of the device that is current at the call (to host
 * memory in the emulated build), dense and aligned to 16 bytes. Calls are asynchronous on `stream`.
 * docs/method.md, sections 1 and 2, has the formulas; arasfsr/query/fused/launcher.py allocates the buffers.
 */
#ifndef ARASFSR_CORE_H
#define ARASFSR_CORE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define ARASFSR_API __attribute__((visibility("default")))
#else
#define ARASFSR_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Changes with every change of this header. */
#define ARASFSR_ABI 8

/* Queries in a tile. */
#define ARASFSR_TILE 64

/* Length of the padded Fourier encoding; its 42 elements are followed by zeros. */
#define ARASFSR_ENCODING 64

/* The dtype of weights and activations. TF32 is float32 of which products ignore the last 13 bits: round the weights
 * beforehand; the kernels round the activations when they store them. */
enum arasfsr_dtype { ARASFSR_BFLOAT16 = 0, ARASFSR_FLOAT16 = 1, ARASFSR_TF32 = 2 };

enum arasfsr_code {
    ARASFSR_OK = 0,
    ARASFSR_BAD_ARGUMENT = 1, /* invalid: `what` is its name, `value` its value; of a pointer, its address modulo 16 */
    ARASFSR_UNSUPPORTED = 2,  /* valid, but no kernel supports it: `what` and `value` likewise */
    ARASFSR_CUDA_ERROR = 3    /* `what` is the kernel or the call, `value` the cudaError_t */
};

/* The result of a call. `what` is a string constant. */
struct arasfsr_status {
    int32_t code;
    const char* what;
    int64_t value;
};

/* The inputs of all kernels. n is the decoder's width; rows are NP = `padded` long, zero beyond n. */
struct arasfsr_problem {
    int32_t abi;       /* ARASFSR_ABI */
    int32_t dtype;     /* of content_weight, encoding_weight, modulator_weight and of the activations */
    int32_t layers;    /* L, at least 1 */
    int32_t width;     /* n */
    int32_t padded;    /* NP */
    int32_t modulated; /* 0 or 1 */
    int32_t lr_height; /* h */
    int32_t lr_width;  /* w */
    int32_t images;    /* images that share the queries; 1 if per_image > 0 */
    int64_t queries;   /* of each image; if per_image > 0, of all images together, one image after the other */
    int64_t per_image; /* 0 if images share the queries, else the number of consecutive queries of each image */

    /* the region of a regular output grid whose pixels are the queries, row by row; grid_height 0: read `coord` */
    int64_t grid_height, grid_width;
    int64_t region_top, region_left, region_width;

    const float* lr_map;         /* G: (images or queries / per_image, h, w, n) */
    const float* image;          /* (the same, 3, h, w) for the skip, or NULL */
    const float* coord;          /* (queries, 2) as (y, x), or NULL with a grid */
    const float* cell;           /* (queries, 2) times (h, w), or NULL if the LR map includes its term */
    const float* rel_weight;     /* (2, NP) */
    const float* cell_weight;    /* (2, NP), or NULL without `cell` */
    const void* content_weight;  /* (L - 1, 2 or 1, NP, NP) as (output, input): for f and, with modulation, f * s */
    const float* content_bias;   /* (L - 1, NP) */
    const void* encoding_weight; /* (NP, ARASFSR_ENCODING); NULL without modulation, like the next two */
    const void* modulator_weight; /* (L - 1, NP, NP) as (output, input) */
    const float* modulator_bias; /* (L, NP) */
    const float* output_weight;  /* (3, NP) */
    const float* output_bias;    /* (3,) */
    void* stream;                /* cudaStream_t */
};

/* A chunk of queries first .. first + count - 1 of each image, and what its forward keeps for the backward.
 * Q = tiles * ARASFSR_TILE >= count; rows = images * Q * 4: one for each image, query and corner, in this order. */
struct arasfsr_kept {
    int64_t first, count, tiles;
    void* f;          /* (L, rows, NP): f_1 .. f_L. If arasfsr_weight_splits is above 0, in a private order: for each
                         64 rows, four panels of 64 columns one after the other, and in each row of a panel chunk
                         XOR row % 8 of 8 elements in the place of each chunk */
    void* s;          /* (L, Q, NP): s_1 .. s_L; without modulation neither s nor the cosines are read or written */
    void* cosines;    /* (L, Q, NP): the derivatives of s */
    int64_t* lr_rows; /* (rows,): the row of the LR map, counted over all images */
    float* rel;       /* (rows, 2) */
    float* share;     /* (rows,): the corner's share of the ensemble */
};

/* The gradients that the backward of the content branch writes. */
struct arasfsr_gradients {
    const float* grad; /* (images, queries, 3), read: of all queries of the problem */
    void* z;           /* (L, rows, NP): of z_1 .. z_L, f before the activation; from z_2 on in the order of `f` */
    float* s;          /* (L, Q, NP): of s_1 .. s_L, through the content branch alone; unused without modulation */
    float* share;      /* (rows,), or NULL if not needed */
    float* combined;   /* (images, Q, NP): s_L * sum over corners of share f_L, the input of the output layer */
};

ARASFSR_API int32_t arasfsr_abi(void);

/* The architectures the library has code for, such as "80 86 89 90a 100 120+ptx"; "emulated" in the emulated build. */
ARASFSR_API const char* arasfsr_architectures(void);

/* ARASFSR_OK, or why no kernel supports the problem on the current device. Reads no device memory. */
ARASFSR_API struct arasfsr_status arasfsr_supports(const struct arasfsr_problem* problem);

/* Bytes of scratch that arasfsr_render needs, bounded for any number of queries. */
ARASFSR_API struct arasfsr_status arasfsr_render_scratch(const struct arasfsr_problem* problem, size_t* bytes);

/* Decode all queries into out (images, queries, 3), float32, the skip included. */
ARASFSR_API struct arasfsr_status arasfsr_render(
    const struct arasfsr_problem* problem, float* out, void* scratch, size_t scratch_bytes);

/* Bytes of scratch that arasfsr_keep and arasfsr_backward need for any chunk. */
ARASFSR_API struct arasfsr_status arasfsr_keep_scratch(const struct arasfsr_problem* problem, size_t* bytes);
ARASFSR_API struct arasfsr_status arasfsr_backward_scratch(const struct arasfsr_problem* problem, size_t* bytes);

/* Tiles that the current device processes at the same time: with a multiple of it no multiprocessor is idle. */
ARASFSR_API struct arasfsr_status arasfsr_turn(const struct arasfsr_problem* problem, int64_t* tiles);

/* The forward of a chunk, which keeps every activation and writes no output. */
ARASFSR_API struct arasfsr_status arasfsr_keep(
    const struct arasfsr_problem* problem, const struct arasfsr_kept* kept, void* scratch, size_t scratch_bytes);

/* The backward of the content branch over the kept activations of a chunk. Without atomics: bitwise reproducible. */
ARASFSR_API struct arasfsr_status arasfsr_backward(
    const struct arasfsr_problem* problem, const struct arasfsr_kept* kept, const struct arasfsr_gradients* gradients,
    void* scratch, size_t scratch_bytes);

/* The backward of the first layer, from the gradient of z_1, (rows, NP): adds to `lr_map`, the gradient of the LR map,
 * and sets `rel`, (images * tiles, 2, NP), to z^T rel of each tile. Adds to the LR map atomically, once for each run of
 * rows with the same LR pixel, in no fixed order. */
ARASFSR_API struct arasfsr_status arasfsr_scatter(const struct arasfsr_problem* problem,
    const struct arasfsr_kept* kept, const void* z, float* lr_map, float* rel);

/* Partial sums that arasfsr_weight_gradients computes in parallel; 0 if neither it nor arasfsr_coordinate supports the
 * problem. */
ARASFSR_API struct arasfsr_status arasfsr_weight_splits(const struct arasfsr_problem* problem, int64_t* splits);

/* The gradients of the hidden layers' weights and biases, from f, s and z, (L, rows, NP): added to `weights`, (splits,
 * L - 1, 2, NP, NP) as (output, input), and to `biases`, (splits, L - 1, NP). */
ARASFSR_API struct arasfsr_status arasfsr_weight_gradients(const struct arasfsr_problem* problem,
    const struct arasfsr_kept* kept, const void* z, float* weights, double* biases, int64_t splits);

/* The backward of the coordinate branch: from `s`, (L, Q, NP), the gradients through the content branch, to those of
 * the angles, which overwrite the cosines. */
ARASFSR_API struct arasfsr_status arasfsr_coordinate_scratch(const struct arasfsr_problem* problem, size_t* bytes);
ARASFSR_API struct arasfsr_status arasfsr_coordinate(const struct arasfsr_problem* problem,
    const struct arasfsr_kept* kept, const float* s, void* scratch, size_t scratch_bytes);

#ifdef __cplusplus
}
#endif
#endif
