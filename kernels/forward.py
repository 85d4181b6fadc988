"""Kernel: from the LR map G to the output in one launch, or to all activations, kept for the backward."""

from __future__ import annotations

import triton
import triton.language as tl

from arasfsr.kernels.geometry import coordinates, corners, skip
from arasfsr.kernels.layers import content_layer, coordinate_branch, first_layer, offsets, output_layer


@triton.jit
def enter(
    target, lr_map, start, image_index, first, count, per_image, coord, cell, grid, lr, rel_weight, cell_weight,
    kept_lr_rows, kept_rel, kept_share,
    N: tl.constexpr, NP: tl.constexpr, BM: tl.constexpr, BG: tl.constexpr, PER_IMAGE: tl.constexpr, GRID: tl.constexpr,
    HAS_CELL: tl.constexpr, KEEP: tl.constexpr, ARITHMETIC: tl.constexpr,
):  # fmt: skip
    """f_1 of the rows of an image from query `start` of the chunk on; with KEEP also their geometry."""
    rows = tl.arange(0, BM)
    query = start + rows // 4
    valid = query < count
    query_index = first + query
    y, x = coordinates(query_index, valid, coord, grid, GRID)
    lr_pixel, rel_y, rel_x, share = corners(y, x, rows % 4, lr)
    h, w, _, _, _, _ = lr
    pixels = tl.cast(h, tl.int64) * w
    lr_row = (tl.where(valid, query_index // per_image, 0) if PER_IMAGE else image_index) * pixels + lr_pixel
    cell_y, cell_x = rel_y, rel_x
    if HAS_CELL:
        cell_y = tl.load(cell + 2 * query_index, mask=valid, other=0.0)
        cell_x = tl.load(cell + 2 * query_index + 1, mask=valid, other=0.0)
    first_layer(
        target,
        lr_map,
        rows,
        lr_row,
        rel_weight,
        rel_y,
        rel_x,
        cell_weight,
        cell_y,
        cell_x,
        N,
        NP,
        BM,
        BG,
        HAS_CELL,
        ARITHMETIC,
    )
    if KEEP:
        tl.store(kept_lr_rows + rows, lr_row)
        tl.store(kept_rel + 2 * rows, rel_y)
        tl.store(kept_rel + 2 * rows + 1, rel_x)
        tl.store(kept_share + rows, share)


@triton.jit
def leave(
    out, source, s, start, image_index, first, count, queries, per_image, image, coord, grid, lr, weight, bias,
    NP: tl.constexpr, BM: tl.constexpr, BG: tl.constexpr, PER_IMAGE: tl.constexpr, GRID: tl.constexpr,
    SKIP: tl.constexpr, MODULATED: tl.constexpr,
):  # fmt: skip
    """From f_L to the output. The shares are computed again, which costs less than keeping them in registers."""
    rows = tl.arange(0, BM)
    of_row = start + rows // 4
    row_y, row_x = coordinates(first + of_row, of_row < count, coord, grid, GRID)
    _, _, _, share = corners(row_y, row_x, rows % 4, lr)
    red, green, blue = output_layer(source, s, rows, weight, share, NP, BM, BG, MODULATED)
    red += tl.load(bias)
    green += tl.load(bias + 1)
    blue += tl.load(bias + 2)
    query = start + tl.arange(0, BM // 4)
    valid = query < count
    query_index = first + query
    if SKIP:
        y, x = coordinates(query_index, valid, coord, grid, GRID)
        h, w, _, _, _, _ = lr
        plane = 3 * tl.cast(h, tl.int64) * w
        first_pixel = (tl.where(valid, query_index // per_image, 0) if PER_IMAGE else image_index) * plane
        red += skip(image, first_pixel, y, x, h, w, 0, valid)
        green += skip(image, first_pixel, y, x, h, w, 1, valid)
        blue += skip(image, first_pixel, y, x, h, w, 2, valid)
    pixel = out + (tl.cast(queries, tl.int64) * image_index + query_index) * 3
    tl.store(pixel, red, mask=valid)
    tl.store(pixel + 1, green, mask=valid)
    tl.store(pixel + 2, blue, mask=valid)


_SIZES = [
    *("h", "w", "region_width", "region_top", "region_left"),
    *("images", "queries", "per_image", "first", "count", "tiles", "rows"),
]


@triton.jit(do_not_specialize=_SIZES)
def forward(
    out, lr_map, image, coord, cell, rel_weight, cell_weight,
    content_weight, content_bias, encoding_weight, modulator_weight, modulator_bias, output_weight, output_bias,
    f, s, cosines, lr_rows, rel, share,
    h, w, shift_up, shift_down, shift_left, shift_right,
    region_width, region_top, region_left, step_y, start_y, step_x, start_x,
    images, queries, per_image, first, count, tiles, rows,
    LAYERS: tl.constexpr, N: tl.constexpr, NP: tl.constexpr, BQ: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    BK: tl.constexpr, CN: tl.constexpr, CK: tl.constexpr, BG: tl.constexpr, STAGES: tl.constexpr,
    PER_IMAGE: tl.constexpr, GRID: tl.constexpr, HAS_CELL: tl.constexpr, SKIP: tl.constexpr, MODULATED: tl.constexpr,
    KEEP: tl.constexpr, PRECISION: tl.constexpr, ARITHMETIC: tl.constexpr,
):  # fmt: skip
    """Decode queries first .. first + count - 1 of each of `images` images that share them.

    With PER_IMAGE, every per_image consecutive queries belong to another image, and `images` is 1. Without KEEP, `out`
    (images, queries, 3) is written; f (programs, 2, BM, NP) and s (programs, LAYERS, BQ, NP) are scratch. With KEEP it
    is not written; f (LAYERS, rows, NP) gets f_1 .. f_L, s (LAYERS, tiles BQ, NP) s_1 .. s_L, and cosines, of the same
    shape, their derivatives; lr_rows (rows,) int64 gets the rows of the LR map, counted over all images, rel (rows, 2)
    the offsets and share (rows,) the shares. There is a row for each image, query (including the padding of the last
    tile) and corner, in this order.
    """
    lr = (h, w, shift_up, shift_down, shift_left, shift_right)
    grid = (region_width, region_top, region_left, step_y, start_y, step_x, start_x)
    program = tl.program_id(0)
    PART: tl.constexpr = BM // 4
    for tile in tl.range(program, tiles, tl.num_programs(0), num_stages=1):
        if KEEP:
            slot_s = tl.cast(tiles, tl.int64) * (BQ * NP)
            tile_s = tl.cast(tile, tl.int64) * (BQ * NP)
        else:
            slot_s = BQ * NP
            tile_s = tl.cast(program, tl.int64) * (LAYERS * BQ * NP)
        if MODULATED:
            tl.debug_barrier()
            tile_start = tl.cast(tile, tl.int64) * BQ
            tile_rows = offsets(tile_start, BQ)
            tile_query = tile_start + tile_rows
            tile_y, tile_x = coordinates(first + tile_query, tile_query < count, coord, grid, GRID)
            coordinate_branch(
                s + tile_s, cosines + tile_s, slot_s, tile_rows, tile_y, tile_x,
                encoding_weight, modulator_weight, modulator_bias,
                LAYERS, NP, BQ, CN, CK, STAGES, KEEP, PRECISION, ARITHMETIC,
            )  # fmt: skip
        for part in tl.range(0, images * (BQ // PART), num_stages=1):
            image_index = part // (BQ // PART)
            start = tl.cast(tile, tl.int64) * BQ + (part % (BQ // PART)) * PART
            part_s = s + tile_s + (part % (BQ // PART)) * (PART * NP)
            row = (image_index * (tl.cast(tiles, tl.int64) * BQ) + start) * 4
            if KEEP:
                slot = tl.cast(rows, tl.int64) * NP
                base = f + row * NP
            else:
                slot = BM * NP
                base = f + tl.cast(program, tl.int64) * (2 * BM * NP)
            tl.debug_barrier()
            enter(
                base, lr_map, start, image_index, first, count, per_image, coord, cell, grid, lr, rel_weight,
                cell_weight, lr_rows + row, rel + 2 * row, share + row,
                N, NP, BM, BG, PER_IMAGE, GRID, HAS_CELL, KEEP, ARITHMETIC,
            )  # fmt: skip
            for layer in tl.range(1, LAYERS, num_stages=1):
                tl.debug_barrier()
                HALVES: tl.constexpr = 2 if MODULATED else 1
                source = base + (layer - 1 if KEEP else (layer - 1) % 2) * slot
                target = base + (layer if KEEP else layer % 2) * slot
                content_layer(
                    target, source, part_s + (layer - 1) * slot_s, tl.arange(0, BM),
                    content_weight + (layer - 1) * (HALVES * NP * NP), content_bias + (layer - 1) * NP,
                    NP, BM, BN, BK, STAGES, MODULATED, PRECISION, ARITHMETIC,
                )  # fmt: skip
            if not KEEP:
                tl.debug_barrier()
                leave(
                    out, base + ((LAYERS - 1) % 2) * slot, part_s + (LAYERS - 1) * slot_s, start, image_index, first,
                    count, queries, per_image, image, coord, grid, lr, output_weight, output_bias,
                    NP, BM, BG, PER_IMAGE, GRID, SKIP, MODULATED,
                )  # fmt: skip
