/* peak_amx.c: the tile unit. Built with its own flags; run only once the system has granted the
 * tile registers. Four tiles of results from two tiles on each side, as a product would use them.
 */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "bench/peak_kernels.h"

enum { ROWS = 16, ROW_BYTES = 64, N_TILES = 8, N_RESULTS = 4 };

/* Layout of the operand of LDTILECFG. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

/* All tiles 16 rows of 64 bytes; 0 to 3 zero, 4 to 7 filled with `value`, 32 bits at a time. */
static void begin_tiles(uint32_t value)
{
    tile_config config = { .palette = 1 };
    uint32_t data[ROWS * ROW_BYTES / 4];
    for (int i = 0; i < N_TILES; i++) {
        config.row_bytes[i] = ROW_BYTES;
        config.rows[i] = ROWS;
    }
    for (size_t i = 0; i < sizeof data / sizeof *data; i++)
        data[i] = value;
    /* Headers of some compilers do not say what these instructions read. */
    __asm__ volatile("" ::"r"(&config), "r"(data) : "memory");
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, data, ROW_BYTES);
    _tile_loadd(5, data, ROW_BYTES);
    _tile_loadd(6, data, ROW_BYTES);
    _tile_loadd(7, data, ROW_BYTES);
}

double peak_bf16_amx(size_t n)
{
    begin_tiles(0x3c233c23); /* pairs of 0.01 */
    for (size_t round = 0; round < n; round++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
    return (double)n * N_RESULTS * ROWS * 16 * ROW_BYTES; /* 32 pairs a row, 2 operations */
}

double peak_int8_amx(size_t n)
{
    begin_tiles(0x02030203);
    for (size_t round = 0; round < n; round++) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_release();
    return (double)n * N_RESULTS * ROWS * 16 * ROW_BYTES * 2;
}
