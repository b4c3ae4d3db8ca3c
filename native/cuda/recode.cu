// recode (numerics 2.3): codes [T, N] to codes [N, T] with scales along T.
//
// A block of threads holds 64 columns of a panel of up to 1024 rows in shared memory: memory is read once and written once. The
// first walk over it finds the columns' absmax, the second makes codes. Both read by ldmatrix, which transposes pairs of
// bytes: a lane has 16 rows in order of two columns, so that a warp writes 64 bytes of 8 columns at a time.
//
// A warp has strips of 64 rows of its own: it asks for them, waits for them and walks over them, and only maxima cross warps.
// So it asks for a strip of the next columns as soon as it has made the codes of these: a block walks over several tiles.
#include "../exact/quantize.h"
#include "ops.h"
#include "ptx.h"
#include "recode_index.h"
#include "row_panels.h"

namespace pogo {
namespace {

constexpr uint32_t THREADS = 256, WARPS = THREADS / 32, BLOCKS = 3;
constexpr uint32_t STRIPS = PANEL / RECODE_STRIP, WARP_STRIPS = STRIPS / WARPS;
constexpr uint32_t UNITS = RECODE_COLUMNS / RECODE_UNIT;
/** Rows of a strip that a warp asks for in one instruction. */
constexpr uint32_t COPY_ROWS = 32 / UNITS;
constexpr uint32_t CODES_BYTES = PANEL * RECODE_COLUMNS, STRIP_BYTES = RECODE_STRIP * RECODE_COLUMNS;
/**
 * Codes of a tile, its rows' scales and dither words; of its columns two sets of maxima, multipliers and dither words; a
 * constant.
 */
constexpr uint32_t SHARED_BYTES = CODES_BYTES + 4 * (2 * PANEL + 4 * RECODE_COLUMNS + 4);

constexpr uint32_t CODE_FLOAT_BITS = 0x4B000000u;  // 2^23: its lowest byte counts ones
constexpr float CODE_FLOAT_ZERO = 8388736.0f;      // 2^23 + 128
/** The code in byte `byte` of a word of codes + 128, as a number: exact. `base`: CODE_FLOAT_BITS in a register. */
static __device__ __forceinline__ float code_of(uint32_t raised, uint32_t byte, uint32_t base) {
  return pogo_sub(pogo_of_bits(__byte_perm(raised, base, 0x7650 | byte)), CODE_FLOAT_ZERO);
}

/** |x scale|: the signs go in the multiplication. */
static __device__ __forceinline__ float scaled_magnitude(float x, float scale) {
#if defined(__CUDA_ARCH__)
  return pogo_mul(fabsf(x), fabsf(scale));
#else
  return pogo_of_bits(pogo_abs_bits(pogo_mul(x, scale)));
#endif
}

/** Tiles of 64 columns of one panel of rows. */
struct Walk {
  uint32_t tiles, tiles_of_block;
};

template <bool DITHER>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    recode_kernel(RecodeArgs a, Walk walk, unsigned long long* failure, uint32_t entry) {
  unsigned char* codes = pogo_shared();
  uint32_t* scales = reinterpret_cast<uint32_t*>(codes + CODES_BYTES);  // as bits
  uint32_t* row_words = scales + PANEL;
  uint32_t* maxima = row_words + PANEL;
  float* multipliers = reinterpret_cast<float*>(maxima + 2 * RECODE_COLUMNS);
  uint32_t* column_words = maxima + 3 * RECODE_COLUMNS;
  uint32_t* base_place = maxima + 4 * RECODE_COLUMNS;
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint32_t first = blockIdx.y * PANEL, rows = min(a.T - first, PANEL);
  const uint32_t first_tile = blockIdx.x * walk.tiles_of_block, end_tile = min(first_tile + walk.tiles_of_block, walk.tiles);

  // What does not exist is 0 and changes no maximum.
  auto ask = [&](uint32_t tile, uint32_t strip) {
    const uint32_t n0 = tile * RECODE_COLUMNS, columns = min(a.N - n0, RECODE_COLUMNS), row0 = strip * RECODE_STRIP;
    if (a.N % RECODE_UNIT == 0) {
      const uint32_t row = lane / UNITS, unit = lane % UNITS;
      const bool is_there = unit * RECODE_UNIT < columns;
      const int8_t* from = a.codes + (size_t)(first + row0 + row) * a.N + n0 + unit * RECODE_UNIT;
      POGO_UNROLL
      for (uint32_t i = 0; i < RECODE_STRIP; i += COPY_ROWS) {
        cp_async16(codes + RECODE_UNIT * recode_unit(row0 + row + i, unit), from, is_there && row0 + row + i < rows);
        from += COPY_ROWS * (size_t)a.N;
      }
    } else {
      POGO_NO_UNROLL
      for (uint32_t i = lane; i < STRIP_BYTES; i += 32) {
        const uint32_t row = row0 + i / RECODE_COLUMNS, column = i % RECODE_COLUMNS;
        codes[RECODE_UNIT * recode_unit(row, column / RECODE_UNIT) + column % RECODE_UNIT] =
            row < rows && column < columns ? (uint8_t)a.codes[(size_t)(first + row) * a.N + n0 + column] : 0;
      }
    }
    cp_async_commit();
  };
  auto load_scales = [&](uint32_t panel) {
    POGO_UNROLL
    for (uint32_t i = 0; i < 2 * WARP_STRIPS; i += 1) {
      const uint32_t row = (warp + i / 2 * WARPS) * RECODE_STRIP + i % 2 * 32 + lane;
      scales[recode_row_place(row)] = row < rows ? pogo_bits(__ldg(a.scales + (size_t)panel * a.T + first + row)) : 0;
    }
  };

  POGO_UNROLL
  for (uint32_t i = 0; i < WARP_STRIPS; i += 1) ask(first_tile, warp + i * WARPS);
  uint32_t panel = first_tile * RECODE_COLUMNS / PANEL;
  load_scales(panel);
  if (DITHER) {
    uint32_t seed[4];
    for (int i = 0; i < 4; i += 1) seed[i] = a.seed[i];
    POGO_UNROLL
    for (uint32_t i = 0; i < 2 * WARP_STRIPS; i += 1) {
      const uint32_t row = (warp + i / 2 * WARPS) * RECODE_STRIP + i % 2 * 32 + lane;
      row_words[recode_row_place(row)] = pogo_dither_row(seed, a.t0 + first + row);
    }
  }
  if (threadIdx.x < 2 * RECODE_COLUMNS) maxima[threadIdx.x] = 0;
  if (threadIdx.x == 0) *base_place = CODE_FLOAT_BITS;
  __syncthreads();

  // From memory: the compiler would make a known constant the other operand, and then move each selector to a register.
  const uint32_t base = *base_place;
  // A lane has rows 16 (lane % 4) … of a strip, of columns 2 (lane / 4) and one more of each unit.
  const uint32_t run = lane % 4 * RECODE_UNIT, pair = lane / 4 * 2;
  // Four words of eight rows in order and two columns, 128 above the codes: byte 2 (row % 2) + column of word row / 2.
  auto load_rows = [&](uint32_t raised[4], uint32_t strip, uint32_t half, uint32_t unit) {
    ldmatrix_x4_trans(raised, codes + RECODE_UNIT * recode_unit(strip * RECODE_STRIP + recode_matrix_row(lane, half), unit));
    POGO_UNROLL
    for (int m = 0; m < 4; m += 1) raised[m] ^= 0x80808080u;
  };
  // Words of four of the lane's rows of a strip, from its row `j` on.
  auto load_four = [&](uint32_t to[4], const uint32_t* words, uint32_t strip, uint32_t j) {
    const uint4 four = *reinterpret_cast<const uint4*>(words + recode_row_place(strip * RECODE_STRIP + run + j));
    to[0] = four.x;
    to[1] = four.y;
    to[2] = four.z;
    to[3] = four.w;
  };
  POGO_NO_UNROLL
  for (uint32_t tile = first_tile; tile < end_tile; tile += 1) {
    const uint32_t n0 = tile * RECODE_COLUMNS, columns = min(a.N - n0, RECODE_COLUMNS);
    uint32_t* tops = maxima + (tile - first_tile) % 2 * RECODE_COLUMNS;
    if (n0 / PANEL != panel) {
      panel = n0 / PANEL;
      load_scales(panel);
    }
    uint32_t top[UNITS][2] = {};
    POGO_NO_UNROLL
    for (uint32_t i = 0; i < WARP_STRIPS; i += 1) {
      const uint32_t strip = warp + i * WARPS;
      if (i == 0) cp_async_wait<WARP_STRIPS - 1>();
      if (i > 0) cp_async_wait<0>();
      __syncwarp();
      POGO_NO_UNROLL
      for (uint32_t half = 0; half < 2; half += 1) {
        uint32_t scale[8];
        load_four(scale, scales, strip, 8 * half);
        load_four(scale + 4, scales, strip, 8 * half + 4);
        POGO_UNROLL
        for (uint32_t unit = 0; unit < UNITS; unit += 1) {
          uint32_t raised[4];
          load_rows(raised, strip, half, unit);
          POGO_UNROLL
          for (uint32_t m = 0; m < 4; m += 1) {
            POGO_UNROLL
            for (uint32_t e = 0; e < 2; e += 1) {
              const float y0 = scaled_magnitude(code_of(raised[m], e, base), pogo_of_bits(scale[2 * m]));
              const float y1 = scaled_magnitude(code_of(raised[m], 2 + e, base), pogo_of_bits(scale[2 * m + 1]));
              top[unit][e] = largest_unsigned(top[unit][e], pogo_bits(y0), pogo_bits(y1));
            }
          }
        }
      }
    }
    POGO_UNROLL
    for (uint32_t unit = 0; unit < UNITS; unit += 1) {
      POGO_UNROLL
      for (uint32_t e = 0; e < 2; e += 1) {
        uint32_t most = top[unit][e];
        most = pogo_imax(most, __shfl_xor_sync(ALL_LANES, most, 1));
        most = pogo_imax(most, __shfl_xor_sync(ALL_LANES, most, 2));
        if (lane % 4 == 0) atomicMax(tops + unit * RECODE_UNIT + pair + e, most);
      }
    }
    __syncthreads();
    if (threadIdx.x < RECODE_COLUMNS) {
      PogoScale scale;
      pogo_q8(tops[threadIdx.x], POGO_Q8_C, POGO_Q8_R, &scale);
      multipliers[threadIdx.x] = scale.multiplier;
      if (DITHER) column_words[threadIdx.x] = pogo_dither_column(a.seed, n0 + threadIdx.x);
      if (threadIdx.x < columns) {
        const size_t group = (size_t)blockIdx.y * a.N + n0 + threadIdx.x;
        a.outScales[group] = scale.scale;
        if (!pogo_absmax_is_finite(tops[threadIdx.x])) pogo_report(failure, entry, FAILURE_NON_FINITE, group);
      }
      tops[threadIdx.x] = 0;
    }
    __syncthreads();

    const bool units_fit = a.T % RECODE_UNIT == 0;
    POGO_NO_UNROLL
    for (uint32_t i = 0; i < WARP_STRIPS; i += 1) {
      const uint32_t strip = warp + i * WARPS, row0 = strip * RECODE_STRIP + run;
      uint32_t scale[RECODE_UNIT];
      POGO_UNROLL
      for (uint32_t j = 0; j < RECODE_UNIT; j += 4) load_four(scale + j, scales, strip, j);
      POGO_NO_UNROLL
      for (uint32_t unit = 0; unit < UNITS; unit += 1) {
        uint32_t raised[8];
        load_rows(raised, strip, 0, unit);
        load_rows(raised + 4, strip, 1, unit);
        // For each unit anew: with the scales they would take too many registers.
        uint32_t row_word[RECODE_UNIT];
        if (DITHER) {
          const uint32_t again = made_again(strip);
          POGO_UNROLL
          for (uint32_t j = 0; j < RECODE_UNIT; j += 4) load_four(row_word + j, row_words, again, j);
        }
        POGO_UNROLL
        for (uint32_t e = 0; e < 2; e += 1) {
          const uint32_t column = unit * RECODE_UNIT + pair + e;
          const float multiplier = multipliers[column];
          const uint32_t column_word = DITHER ? column_words[column] : 0;
          uint32_t word[4];
          POGO_UNROLL
          for (uint32_t w = 0; w < 4; w += 1) {
            uint32_t code[4];
            POGO_UNROLL
            for (uint32_t j = 0; j < 4; j += 1) {
              const uint32_t row = 4 * w + j;
              const float y = pogo_mul(code_of(raised[row / 2], row % 2 * 2 + e, base), pogo_of_bits(scale[row]));
              code[j] = DITHER ? pogo_code_dithered_bits(y, multiplier, column_word, row_word[row]) : pogo_code_bits(y, multiplier);
            }
            // Here, not once more in each of the branches below.
            word[w] = made_again(low_bytes(code[0], code[1], code[2], code[3]));
          }
          if (column >= columns) continue;
          int8_t* to = a.out + (size_t)(n0 + column) * a.T + first + row0;
          if (units_fit) {
            if (row0 < rows) *reinterpret_cast<uint4*>(to) = make_uint4(word[0], word[1], word[2], word[3]);
          } else {
            POGO_UNROLL
            for (uint32_t j = 0; j < RECODE_UNIT; j += 1) {
              if (row0 + j < rows) to[j] = (int8_t)(uint8_t)(word[j / 4] >> (8 * (j % 4)));
            }
          }
        }
      }
      __syncwarp();
      if (tile + 1 < end_tile) ask(tile + 1, strip);
    }
  }
}

}  // namespace

Status recode(const RecodeArgs& a, const Launch& launch) {
  if (a.T == 0 || a.N == 0) return Status();
  // As many blocks as run at a time, each with as many tiles as the others.
  const uint32_t panels = panel_count(a.T), tiles = (a.N + RECODE_COLUMNS - 1) / RECODE_COLUMNS;
  const uint32_t slots = launch.device->multiprocessors * BLOCKS, most = slots < panels ? 1 : slots / panels;
  const uint32_t each = (tiles + most - 1) / most;
  const dim3 grid((tiles + each - 1) / each, panels);
  const Walk walk = {tiles, each};
  POGO_TRY(a.dither ? POGO_LAUNCH((recode_kernel<true>), grid, THREADS, SHARED_BYTES, launch.stream, a, walk, launch.failure,
                                  launch.entry)
                    : POGO_LAUNCH((recode_kernel<false>), grid, THREADS, SHARED_BYTES, launch.stream, a, walk, launch.failure,
                                  launch.entry),
           "recode_kernel");
  return Status();
}

}  // namespace pogo
