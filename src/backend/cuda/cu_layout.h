/* cu_layout.h: index arithmetic of the tensor-core kernels: where a chunk of 16 bytes lies in
 * shared memory, and which row of which matrix a lane names when fragments are loaded. Plain
 * functions, compiled for the device and, by the tests, for the host. */
#ifndef LACI_BACKEND_CU_LAYOUT_H
#define LACI_BACKEND_CU_LAYOUT_H

#include <stdint.h>

#include "backend/cuda/cuda_api.h"

#if defined(__CUDACC__)
#define LACI_CU_INLINE static __host__ __device__ __forceinline__
#else
#define LACI_CU_INLINE static inline
#endif

/* Byte offset of chunk `chunk` of `row` in a matrix of rows of n_chunks (a multiple of 8) chunks.
 * The chunk's number is xored with the row's last three bits: the eight rows that ldmatrix reads at
 * once, or eight chunks that threads write, fall into different banks. */
LACI_CU_INLINE uint32_t chunk_offset(uint32_t row, uint32_t chunk, uint32_t n_chunks)
{
    return (row * n_chunks + (chunk ^ (row & 7))) * 16;
}

/* What wgmma reads from shared memory (PTX ISA 9.7.15.5): a matrix in rows of 128 bytes, each in 8
 * chunks placed by chunk_offset(.., 8); `address` is that of its first element, a multiple of 16.
 * By rows of channels ("K-major"): `stride` bytes from 8 rows to the next 8; `lead` is not read.
 * Transposed ("MN-major"): `stride` from 8 rows to the next 8, `lead` from 64 columns to the next
 * 64. Bits: address 0-13, lead 16-29, stride 32-45, all in units of 16 bytes; 62-63: 1 = a
 * swizzle of 128 bytes. */
LACI_CU_INLINE uint64_t matrix_descriptor(uint32_t address, uint32_t lead, uint32_t stride)
{
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)(lead >> 4) << 16 |
           (uint64_t)(stride >> 4) << 32 | (uint64_t)1 << 62;
}

/* Lanes of a part of a tile of n lanes: a multiple of LACI_CU_TILE. */
LACI_CU_INLINE uint32_t lanes_of_part(uint32_t n_lanes)
{
    const uint32_t even = n_lanes / LACI_CU_MOST_PARTS + (n_lanes % LACI_CU_MOST_PARTS != 0);
    const uint32_t whole = (even + LACI_CU_TILE - 1) / LACI_CU_TILE * LACI_CU_TILE;
    return whole < LACI_CU_SHORTEST_PART ? (uint32_t)LACI_CU_SHORTEST_PART : whole;
}

/* Four 8 x 8 matrices of a 16 x 16 fragment, lane l naming row l % 8 of matrix l / 8.
 * "left": matrices in the order (rows 0-7, chunk 0), (rows 8-15, chunk 0), (0-7, 1), (8-15, 1): the
 * left factor from rows of queries; transposed, two right factors from rows of values.
 * "right": (0-7, 0), (0-7, 1), (8-15, 0), (8-15, 1): two right factors from rows of keys. */
LACI_CU_INLINE uint32_t left_row(uint32_t lane)
{
    return lane % 8 + 8 * (lane / 8 % 2);
}

LACI_CU_INLINE uint32_t left_chunk(uint32_t lane)
{
    return lane / 16;
}

LACI_CU_INLINE uint32_t right_row(uint32_t lane)
{
    return lane % 8 + 8 * (lane / 16);
}

LACI_CU_INLINE uint32_t right_chunk(uint32_t lane)
{
    return lane / 8 % 2;
}

#endif
