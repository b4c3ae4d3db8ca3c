// recode (numerics 2.3): codes [T, N] to codes [N, T] with scales along T.
//
// A block holds 64 columns of a panel of up to 1024 rows in shared memory: memory is read once and written once. The
// first walk over it finds the columns' absmax, the second makes codes; a lane of the second takes four rows of four
// columns, so that its results are words of four neighbouring t and a warp writes 128 bytes of a row.
#include "gemm_tiles.h"
#include "../exact/quantize.h"
#include "ops.h"

namespace pogo {
namespace {

constexpr uint32_t THREADS = 256, WORDS = RECODE_COLUMNS / 4;
/** Codes of a panel, its rows' scales and dither words, its columns' maxima, multipliers and dither words. */
constexpr uint32_t CODES_WORDS = PANEL * WORDS;
constexpr uint32_t SHARED_WORDS = CODES_WORDS + 2 * PANEL + 3 * RECODE_COLUMNS;

__device__ __forceinline__ float code_value(uint32_t word, uint32_t byte, float scale) {
  return pogo_mul(pogo_to_float((uint32_t)(int32_t)(int8_t)(word >> (8 * byte))), scale);
}

__global__ void __launch_bounds__(THREADS) recode_kernel(RecodeArgs a, unsigned long long* failure, uint32_t entry) {
  uint32_t* codes = reinterpret_cast<uint32_t*>(pogo_shared());
  float* scales = reinterpret_cast<float*>(codes + CODES_WORDS);
  uint32_t* row_words = codes + CODES_WORDS + PANEL;
  uint32_t* maxima = row_words + PANEL;
  float* multipliers = reinterpret_cast<float*>(maxima + RECODE_COLUMNS);
  uint32_t* column_words = maxima + 2 * RECODE_COLUMNS;
  const uint32_t n0 = blockIdx.x * RECODE_COLUMNS, columns = min(a.N - n0, RECODE_COLUMNS);
  const uint32_t first = blockIdx.y * PANEL, rows = min(a.T - first, PANEL);

  // Rows up to a multiple of four: what does not exist is 0 and changes no maximum.
  const uint32_t padded = (rows + 3) / 4 * 4;
  if (a.N % 16 == 0) {
    POGO_NO_UNROLL
    for (uint32_t i = threadIdx.x; i < padded * (RECODE_COLUMNS / 16); i += THREADS) {
      const uint32_t row = i / (RECODE_COLUMNS / 16), chunk = i % (RECODE_COLUMNS / 16);
      uint4 four = make_uint4(0, 0, 0, 0);
      if (row < rows && chunk * 16 < columns) {
        four = __ldg(reinterpret_cast<const uint4*>(a.codes + (size_t)(first + row) * a.N + n0 + chunk * 16));
      }
      codes[recode_word(row, 4 * chunk)] = four.x;
      codes[recode_word(row, 4 * chunk + 1)] = four.y;
      codes[recode_word(row, 4 * chunk + 2)] = four.z;
      codes[recode_word(row, 4 * chunk + 3)] = four.w;
    }
  } else {
    POGO_NO_UNROLL
    for (uint32_t i = threadIdx.x; i < padded * WORDS; i += THREADS) {
      const uint32_t row = i / WORDS, word = i % WORDS;
      uint32_t four = 0;
      for (uint32_t byte = 0; byte < 4; byte += 1) {
        const uint32_t column = 4 * word + byte;
        if (row < rows && column < columns) {
          four |= (uint32_t)(uint8_t)a.codes[(size_t)(first + row) * a.N + n0 + column] << (8 * byte);
        }
      }
      codes[recode_word(row, word)] = four;
    }
  }
  POGO_NO_UNROLL
  for (uint32_t i = threadIdx.x; i < padded; i += THREADS) {
    scales[i] = i < rows ? __ldg(a.scales + (size_t)(n0 / PANEL) * a.T + first + i) : 0.0f;
    if (a.dither) row_words[i] = pogo_dither_row(a.seed, a.t0 + first + i);
  }
  if (threadIdx.x < RECODE_COLUMNS) {
    maxima[threadIdx.x] = 0;
    if (a.dither) column_words[threadIdx.x] = pogo_dither_column(a.seed, n0 + threadIdx.x);
  }
  __syncthreads();

  {
    // Sixteen words a row, two rows a warp.
    const uint32_t word = threadIdx.x % WORDS;
    uint32_t top[4] = {};
    for (uint32_t row = threadIdx.x / WORDS; row < padded; row += THREADS / WORDS) {
      const uint32_t four = codes[recode_word(row, word)];
      const float scale = scales[row];
      POGO_UNROLL
      for (uint32_t byte = 0; byte < 4; byte += 1) {
        top[byte] = pogo_imax(top[byte], pogo_abs_bits(code_value(four, byte, scale)));
      }
    }
    POGO_UNROLL
    for (uint32_t byte = 0; byte < 4; byte += 1) {
      top[byte] = pogo_imax(top[byte], __shfl_xor_sync(0xFFFFFFFFu, top[byte], 16));
      if (threadIdx.x % 32 < 16) atomicMax(maxima + 4 * word + byte, top[byte]);
    }
  }
  __syncthreads();
  if (threadIdx.x < RECODE_COLUMNS) {
    PogoScale scale;
    pogo_q8(maxima[threadIdx.x], POGO_Q8_C, POGO_Q8_R, &scale);
    multipliers[threadIdx.x] = scale.multiplier;
    if (threadIdx.x < columns) {
      const size_t group = (size_t)blockIdx.y * a.N + n0 + threadIdx.x;
      a.outScales[group] = scale.scale;
      if (!pogo_absmax_is_finite(maxima[threadIdx.x])) pogo_report(failure, entry, FAILURE_NON_FINITE, group);
    }
  }
  __syncthreads();

  // A warp takes 128 rows of a word of columns at a time.
  const uint32_t lane = threadIdx.x % 32, strips = (padded + 127) / 128;
  const bool words_fit = a.T % 4 == 0;
  POGO_NO_UNROLL
  for (uint32_t task = threadIdx.x / 32; task < strips * WORDS; task += THREADS / 32) {
    const uint32_t row0 = task % strips * 128 + 4 * lane, word = task / strips;
    if (row0 >= padded) continue;
    uint32_t four[4];
    POGO_UNROLL
    for (uint32_t j = 0; j < 4; j += 1) four[j] = codes[recode_word(row0 + j, word)];
    const float4 scale4 = *reinterpret_cast<const float4*>(scales + row0);
    const uint4 words4 = a.dither ? *reinterpret_cast<const uint4*>(row_words + row0) : make_uint4(0, 0, 0, 0);
    const float scale[4] = {scale4.x, scale4.y, scale4.z, scale4.w};
    const uint32_t row_word[4] = {words4.x, words4.y, words4.z, words4.w};
    POGO_UNROLL
    for (uint32_t byte = 0; byte < 4; byte += 1) {
      const uint32_t column = 4 * word + byte;
      if (column >= columns) continue;
      const float multiplier = multipliers[column];
      uint32_t out = 0;
      if (a.dither) {
        const uint32_t column_word = column_words[column];
        POGO_UNROLL
        for (uint32_t j = 0; j < 4; j += 1) {
          const uint32_t code = pogo_code_dithered_bits(code_value(four[j], byte, scale[j]), multiplier, column_word,
                                                        row_word[j]);
          out |= (code & 255u) << (8 * j);
        }
      } else {
        POGO_UNROLL
        for (uint32_t j = 0; j < 4; j += 1) {
          out |= (pogo_code_bits(code_value(four[j], byte, scale[j]), multiplier) & 255u) << (8 * j);
        }
      }
      int8_t* to = a.out + (size_t)(n0 + column) * a.T + first + row0;
      if (words_fit) {
        *reinterpret_cast<uint32_t*>(to) = out;
      } else {
        for (uint32_t j = 0; j < 4 && row0 + j < rows; j += 1) to[j] = (int8_t)(uint8_t)(out >> (8 * j));
      }
    }
  }
}

}  // namespace

Status recode(const RecodeArgs& a, const Launch& launch) {
  if (a.T == 0 || a.N == 0) return Status();
  const dim3 grid((a.N + RECODE_COLUMNS - 1) / RECODE_COLUMNS, (a.T + PANEL - 1) / PANEL);
  POGO_TRY(POGO_LAUNCH(recode_kernel, grid, dim3(THREADS), SHARED_WORDS * 4, launch.stream, a,
                       launch.failure, launch.entry),
           "recode_kernel");
  return Status();
}

}  // namespace pogo
