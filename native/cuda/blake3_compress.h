// BLAKE3's compression function, chunks and parents (specification, section 2), for the GPU and for the host test.
#ifndef POGO_CUDA_BLAKE3_COMPRESS_H
#define POGO_CUDA_BLAKE3_COMPRESS_H

#include "../exact/arith.h"

static constexpr uint32_t POGO_BLAKE3_CHUNK = 1024;
static constexpr uint32_t POGO_BLAKE3_BLOCK = 64;

static constexpr uint32_t POGO_BLAKE3_CHUNK_START = 1;
static constexpr uint32_t POGO_BLAKE3_CHUNK_END = 2;
static constexpr uint32_t POGO_BLAKE3_PARENT = 4;
static constexpr uint32_t POGO_BLAKE3_ROOT = 8;

POGO_HD uint32_t pogo_rotate(uint32_t x, int n) {
#if defined(__CUDA_ARCH__)
  return __funnelshift_r(x, x, n);
#else
  return (x >> n) | (x << (32 - n));
#endif
}

POGO_HD void pogo_blake3_mix(uint32_t& a, uint32_t& b, uint32_t& c, uint32_t& d, uint32_t x, uint32_t y) {
  a = a + b + x;
  d = pogo_rotate(d ^ a, 16);
  c = c + d;
  b = pogo_rotate(b ^ c, 12);
  a = a + b + y;
  d = pogo_rotate(d ^ a, 8);
  c = c + d;
  b = pogo_rotate(b ^ c, 7);
}

POGO_HD void pogo_blake3_start(uint32_t cv[8]) {
  cv[0] = 0x6A09E667u;
  cv[1] = 0xBB67AE85u;
  cv[2] = 0x3C6EF372u;
  cv[3] = 0xA54FF53Au;
  cv[4] = 0x510E527Fu;
  cv[5] = 0x9B05688Cu;
  cv[6] = 0x1F83D9ABu;
  cv[7] = 0x5BE0CD19u;
}

/** cv = first half of the compression of one block: the chaining value, and with ROOT the first 32 bytes of output. */
POGO_HD void pogo_blake3_compress(uint32_t cv[8], const uint32_t block[16], uint64_t counter, uint32_t length,
                                  uint32_t flags) {
  uint32_t m[16];
  for (int i = 0; i < 16; i += 1) m[i] = block[i];
  uint32_t s0 = cv[0], s1 = cv[1], s2 = cv[2], s3 = cv[3], s4 = cv[4], s5 = cv[5], s6 = cv[6], s7 = cv[7];
  uint32_t s8 = 0x6A09E667u, s9 = 0xBB67AE85u, s10 = 0x3C6EF372u, s11 = 0xA54FF53Au;
  uint32_t s12 = (uint32_t)counter, s13 = (uint32_t)(counter >> 32), s14 = length, s15 = flags;
#if defined(__CUDA_ARCH__)
#pragma unroll
#endif
  for (int round = 0; round < 7; round += 1) {
    pogo_blake3_mix(s0, s4, s8, s12, m[0], m[1]);
    pogo_blake3_mix(s1, s5, s9, s13, m[2], m[3]);
    pogo_blake3_mix(s2, s6, s10, s14, m[4], m[5]);
    pogo_blake3_mix(s3, s7, s11, s15, m[6], m[7]);
    pogo_blake3_mix(s0, s5, s10, s15, m[8], m[9]);
    pogo_blake3_mix(s1, s6, s11, s12, m[10], m[11]);
    pogo_blake3_mix(s2, s7, s8, s13, m[12], m[13]);
    pogo_blake3_mix(s3, s4, s9, s14, m[14], m[15]);
    // Unrolled, the permutation of the message only renames registers.
    uint32_t p[16] = {m[2],  m[6], m[3],  m[10], m[7], m[0],  m[4],  m[13],
                      m[1], m[11], m[12], m[5],  m[9], m[14], m[15], m[8]};
    for (int i = 0; i < 16; i += 1) m[i] = p[i];
  }
  cv[0] = s0 ^ s8;
  cv[1] = s1 ^ s9;
  cv[2] = s2 ^ s10;
  cv[3] = s3 ^ s11;
  cv[4] = s4 ^ s12;
  cv[5] = s5 ^ s13;
  cv[6] = s6 ^ s14;
  cv[7] = s7 ^ s15;
}

/** A whole block of 64 bytes; on a GPU `bytes` is 16-byte aligned, because chunks start at multiples of 1024. */
POGO_HD void pogo_blake3_load(const uint8_t* bytes, uint32_t block[16]) {
#if defined(__CUDA_ARCH__)
  const uint4* quads = reinterpret_cast<const uint4*>(bytes);
#pragma unroll
  for (int i = 0; i < 4; i += 1) {
    uint4 q = __ldg(quads + i);
    block[4 * i] = q.x;
    block[4 * i + 1] = q.y;
    block[4 * i + 2] = q.z;
    block[4 * i + 3] = q.w;
  }
#else
  memcpy(block, bytes, POGO_BLAKE3_BLOCK);
#endif
}

/** Chaining value of one chunk of 1…1024 bytes (0 only for empty input); `root` also ends the tree. */
POGO_HD void pogo_blake3_chunk(const uint8_t* bytes, uint32_t length, uint64_t counter, bool root, uint32_t cv[8]) {
  pogo_blake3_start(cv);
  uint32_t blocks = length == 0 ? 1 : (length + POGO_BLAKE3_BLOCK - 1) / POGO_BLAKE3_BLOCK;
  for (uint32_t i = 0; i < blocks; i += 1) {
    uint32_t left = length - i * POGO_BLAKE3_BLOCK;
    uint32_t size = left < POGO_BLAKE3_BLOCK ? left : POGO_BLAKE3_BLOCK;
    uint32_t block[16];
    if (size == POGO_BLAKE3_BLOCK) {
      pogo_blake3_load(bytes + i * POGO_BLAKE3_BLOCK, block);
    } else {
      // The end of a vector: bytes beyond it are zero.
      for (uint32_t w = 0; w < 16; w += 1) {
        uint32_t word = 0;
        for (uint32_t k = 0; k < 4; k += 1) {
          uint32_t at = 4 * w + k;
          if (at < size) word |= (uint32_t)bytes[i * POGO_BLAKE3_BLOCK + at] << (8 * k);
        }
        block[w] = word;
      }
    }
    uint32_t flags = i == 0 ? POGO_BLAKE3_CHUNK_START : 0;
    if (i + 1 == blocks) flags |= POGO_BLAKE3_CHUNK_END | (root ? POGO_BLAKE3_ROOT : 0);
    pogo_blake3_compress(cv, block, counter, size, flags);
  }
}

/** Chaining value of two children, or the hash if `root`. `children`: 16 words. */
POGO_HD void pogo_blake3_parent(const uint32_t* children, bool root, uint32_t cv[8]) {
  uint32_t block[16];
  for (int i = 0; i < 16; i += 1) block[i] = children[i];
  pogo_blake3_start(cv);
  pogo_blake3_compress(cv, block, 0, POGO_BLAKE3_BLOCK, POGO_BLAKE3_PARENT | (root ? POGO_BLAKE3_ROOT : 0));
}

#endif
