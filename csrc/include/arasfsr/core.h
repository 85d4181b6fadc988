/* The native core of arasfsr: the query path of ARASFSR in CUDA, behind pointers, sizes and a stream.
 *
 * It knows neither torch nor Python. Pointers are to device memory of the device that is current when a function is
 * called (to host memory in the emulated build), dense and aligned to 16 bytes. Calls are asynchronous on `stream`.
 * Names and formulas are those of docs/kernels.md and arasfsr/query/fused/launcher.py, whose buffers these are.
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
#define ARASFSR_ABI 7

/* Queries of a tile: what `tiles` counts. */
#define ARASFSR_TILE 64

/* Length of the Fourier encoding, zero beyond its 42 numbers. */
#define ARASFSR_ENCODING 64

/* Of weights and activations. TF32 is float32 whose last 13 bits products do not read: weights are best rounded before,
 * activations are rounded where they are stored. */
enum arasfsr_dtype { ARASFSR_BFLOAT16 = 0, ARASFSR_FLOAT16 = 1, ARASFSR_TF32 = 2 };

enum arasfsr_code {
    ARASFSR_OK = 0,
    ARASFSR_BAD_ARGUMENT = 1, /* `what` names it, `value` is what was given */
    ARASFSR_UNSUPPORTED = 2,  /* likewise: fine in itself, but no kernel takes it */
    ARASFSR_CUDA_ERROR = 3    /* `what` names the kernel or the call, `value` is the cudaError_t */
};

/* What came of a call. `what` is a string constant. */
struct arasfsr_status {
    int32_t code;
    const char* what;
    int64_t value;
};

/* What all kernels of one call read. n is the decoder's width, NP = `padded` its rows' length, zero beyond n. */
struct arasfsr_problem {
    int32_t abi;       /* ARASFSR_ABI */
    int32_t dtype;     /* of content_weight, encoding_weight, modulator_weight and of the activations */
    int32_t layers;    /* L, at least 1 */
    int32_t width;     /* n */
    int32_t padded;    /* NP */
    int32_t modulated; /* 0 or 1 */
    int32_t lr_height; /* h */
    int32_t lr_width;  /* w */
    int32_t images;    /* images that share the queries; 1 where per_image > 0 */
    int64_t queries;   /* of an image; where per_image > 0, of all images together, one image after the other */
    int64_t per_image; /* 0, or how many queries in a row belong to one image */

    /* the region of a regular output grid whose pixels are the queries, row by row; grid_height 0: `coord` is read */
    int64_t grid_height, grid_width;
    int64_t region_top, region_left, region_width;

    const float* latent;         /* (images or queries / per_image, h, w, n) */
    const float* image;          /* (the same, 3, h, w) for the skip, or NULL */
    const float* coord;          /* (queries, 2) as (y, x), or NULL with a grid */
    const float* cell;           /* (queries, 2) times (h, w), or NULL: then the latent holds its term */
    const float* rel_weight;     /* (2, NP) */
    const float* cell_weight;    /* (2, NP), or NULL without `cell` */
    const void* content_weight;  /* (L - 1, 2 or 1, NP, NP) as (output, input): of f, and with modulation of f * s */
    const float* content_bias;   /* (L - 1, NP) */
    const void* encoding_weight; /* (NP, ARASFSR_ENCODING); the three of the modulator are NULL without modulation */
    const void* modulator_weight; /* (L - 1, NP, NP) as (output, input) */
    const float* modulator_bias; /* (L, NP) */
    const float* output_weight;  /* (3, NP) */
    const float* output_bias;    /* (3,) */
    void* stream;                /* cudaStream_t */
};

/* A chunk of queries first .. first + count - 1 of each image, and what its forward keeps.
 * Q = tiles * ARASFSR_TILE >= count; rows = images * Q * 4: one for each image, query and corner, in this order. */
struct arasfsr_kept {
    int64_t first, count, tiles;
    void* f;        /* (L, rows, NP): f_1 .. f_L; where arasfsr_weight_splits is above 0, in an order for the calls
                       below alone: 64 rows at a time, four panels of 64 columns one after the other, and of each row
                       the chunks of 8 numbers permuted by chunk XOR row % 8 */
    void* s;        /* (L, Q, NP): s_1 .. s_L; neither read nor written without modulation, nor are the cosines */
    void* cosines;  /* (L, Q, NP): the derivatives of s */
    int64_t* cells; /* (rows,): the latent's row, counted over all images */
    float* rel;     /* (rows, 2) */
    float* share;   /* (rows,): of the ensemble */
};

/* What the backward of the content branch writes. */
struct arasfsr_gradients {
    const float* grad; /* (images, queries, 3), read: of all queries of the problem */
    void* z;           /* (L, rows, NP): of f_1 .. f_L before their ReLU; but for the first in the order of `f` */
    float* s;          /* (L, Q, NP): of s_1 .. s_L from the content branch; not without modulation */
    float* share;      /* (rows,), or NULL where nobody asks */
    float* combined;   /* (images, Q, NP): s_L * sum over corners of share f_L, what the output layer read */
};

ARASFSR_API int32_t arasfsr_abi(void);

/* The architectures this library holds code for, such as "80 86 89 90a 100 120+ptx"; "emulated" in the host's build. */
ARASFSR_API const char* arasfsr_architectures(void);

/* Why no kernel takes the problem on the current device (code, what, value), or ARASFSR_OK. Reads no device memory. */
ARASFSR_API struct arasfsr_status arasfsr_supports(const struct arasfsr_problem* problem);

/* Bytes of scratch that arasfsr_render needs: bounded, whatever `queries` is. */
ARASFSR_API struct arasfsr_status arasfsr_render_scratch(const struct arasfsr_problem* problem, size_t* bytes);

/* Decode all queries into out (images, queries, 3), float32, the skip included. */
ARASFSR_API struct arasfsr_status arasfsr_render(
    const struct arasfsr_problem* problem, float* out, void* scratch, size_t scratch_bytes);

/* Bytes of scratch that arasfsr_keep and arasfsr_backward need, whatever the chunk is. */
ARASFSR_API struct arasfsr_status arasfsr_keep_scratch(const struct arasfsr_problem* problem, size_t* bytes);
ARASFSR_API struct arasfsr_status arasfsr_backward_scratch(const struct arasfsr_problem* problem, size_t* bytes);

/* Tiles that the current device takes at the same time: a chunk of whole turns leaves no multiprocessor idle. */
ARASFSR_API struct arasfsr_status arasfsr_turn(const struct arasfsr_problem* problem, int64_t* tiles);

/* The forward of a chunk, every activation kept; nothing is decoded. */
ARASFSR_API struct arasfsr_status arasfsr_keep(
    const struct arasfsr_problem* problem, const struct arasfsr_kept* kept, void* scratch, size_t scratch_bytes);

/* The backward of the content branch over a chunk's kept activations. Nothing is atomic: bitwise reproducible. */
ARASFSR_API struct arasfsr_status arasfsr_backward(
    const struct arasfsr_problem* problem, const struct arasfsr_kept* kept, const struct arasfsr_gradients* gradients,
    void* scratch, size_t scratch_bytes);

/* The first layer backward, from z of f_1, (rows, NP): added to the gradient of the latent, of its shape; and `rel`,
 * (images * tiles, 2, NP), gets z^T rel of each tile. Sums over a run of rows with one cell are atomic: what several
 * give a cell is added in any order. */
ARASFSR_API struct arasfsr_status arasfsr_scatter(const struct arasfsr_problem* problem,
    const struct arasfsr_kept* kept, const void* z, float* latent, float* rel);

/* Sums that arasfsr_weight_gradients takes side by side; 0 where neither it nor arasfsr_coordinate takes the problem. */
ARASFSR_API struct arasfsr_status arasfsr_weight_splits(const struct arasfsr_problem* problem, int64_t* splits);

/* The gradients of the hidden layers' weights and biases, from f, s and z, (L, rows, NP): added to (splits, L - 1, 2,
 * NP, NP) as (output, input) and to (splits, L - 1, NP). */
ARASFSR_API struct arasfsr_status arasfsr_weight_gradients(const struct arasfsr_problem* problem,
    const struct arasfsr_kept* kept, const void* z, float* weights, double* biases, int64_t splits);

/* The coordinate branch backward: from s, (L, Q, NP), gradients that the content branch gave, to those of the angles,
 * which take the cosines' place. */
ARASFSR_API struct arasfsr_status arasfsr_coordinate_scratch(const struct arasfsr_problem* problem, size_t* bytes);
ARASFSR_API struct arasfsr_status arasfsr_coordinate(const struct arasfsr_problem* problem,
    const struct arasfsr_kept* kept, const float* s, void* scratch, size_t scratch_bytes);

#ifdef __cplusplus
}
#endif
#endif
