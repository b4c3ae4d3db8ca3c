//! Chaining values of chunks that are no neighbours, eight at once.
//!
//! `hash_many` counts on from one chunk to the next, so chunks with gaps between them would go one by one, each a chain of 16
//! compressions: ten times slower. Here every lane of a 256-bit register has the counter of its own chunk.

#[cfg(not(target_arch = "x86_64"))]
use crate::chaining::{CHUNK, CV};

/// Chunks of one call.
pub const LANES: usize = 8;

/// Whether this machine has what [`hash_lone`] needs.
pub fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Chaining values of whole chunks; `counters` are their numbers in the whole input.
///
/// Safety: [`available`] said yes.
#[cfg(not(target_arch = "x86_64"))]
pub unsafe fn hash_lone(_: &[&[u8; CHUNK]; LANES], _: &[u64; LANES], _: &mut [[u8; CV]; LANES]) {
    unreachable!("not on this machine");
}

#[cfg(target_arch = "x86_64")]
pub use x86::hash_lone;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::LANES;
    use crate::chaining::{BLOCK, CHUNK, CHUNK_END, CHUNK_START, CV, IV};
    use std::arch::x86_64::*;

    /// BLAKE3 specification, section 2.2: order of the message words from one round to the next.
    const PERMUTATION: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
    const ROUNDS: usize = 7;

    /// Message words of every round.
    const SCHEDULE: [[usize; 16]; ROUNDS] = {
        let mut rounds = [[0; 16]; ROUNDS];
        let mut i = 0;
        while i < 16 {
            rounds[0][i] = i;
            i += 1;
        }
        let mut round = 1;
        while round < ROUNDS {
            let mut i = 0;
            while i < 16 {
                rounds[round][i] = rounds[round - 1][PERMUTATION[i]];
                i += 1;
            }
            round += 1;
        }
        rounds
    };

    #[inline]
    #[target_feature(enable = "avx2")]
    fn rotate_bytes<const BITS: i32>(x: __m256i) -> __m256i {
        let half = if BITS == 16 {
            _mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)
        } else {
            _mm_setr_epi8(1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12)
        };
        _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(half))
    }

    /// Rotation to the right by `R` = 32 - `L`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn rotate<const R: i32, const L: i32>(x: __m256i) -> __m256i {
        _mm256_or_si256(_mm256_srli_epi32::<R>(x), _mm256_slli_epi32::<L>(x))
    }

    /// Half of the specification's G on four columns or diagonals: additions of one message word each, rotations by `D` and `B`.
    macro_rules! half {
        ($v:ident, $places:expr, $words:expr, $rotate_d:expr, $rotate_b:expr) => {
            for (i, [a, b, c, d]) in $places.into_iter().enumerate() {
                $v[a] = _mm256_add_epi32(_mm256_add_epi32($v[a], $v[b]), $words[i]);
                $v[d] = $rotate_d(_mm256_xor_si256($v[d], $v[a]));
                $v[c] = _mm256_add_epi32($v[c], $v[d]);
                $v[b] = $rotate_b(_mm256_xor_si256($v[b], $v[c]));
            }
        };
    }

    const COLUMNS: [[usize; 4]; 4] = [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]];
    const DIAGONALS: [[usize; 4]; 4] = [[0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]];

    /// Round `R` of a compression. The state goes by value: behind a reference every step would be stored.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn round<const R: usize>(mut v: [__m256i; 16], m: &[__m256i; 16]) -> [__m256i; 16] {
        let word = |start: usize| [0, 2, 4, 6].map(|i| m[const { SCHEDULE[R] }[start + i]]);
        half!(v, COLUMNS, word(0), rotate_bytes::<16>, rotate::<12, 20>);
        half!(v, COLUMNS, word(1), rotate_bytes::<8>, rotate::<7, 25>);
        half!(v, DIAGONALS, word(8), rotate_bytes::<16>, rotate::<12, 20>);
        half!(v, DIAGONALS, word(9), rotate_bytes::<8>, rotate::<7, 25>);
        v
    }

    /// Rows become columns: word i of vector j goes to word j of vector i.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn transpose(rows: [__m256i; 8]) -> [__m256i; 8] {
        let [a, b, c, d, e, f, g, h] = rows;
        let pairs = |x, y| (_mm256_unpacklo_epi32(x, y), _mm256_unpackhi_epi32(x, y));
        let ((ab0, ab1), (cd0, cd1), (ef0, ef1), (gh0, gh1)) = (pairs(a, b), pairs(c, d), pairs(e, f), pairs(g, h));
        let fours = |x, y| (_mm256_unpacklo_epi64(x, y), _mm256_unpackhi_epi64(x, y));
        let ((w0, w1), (w2, w3)) = (fours(ab0, cd0), fours(ab1, cd1));
        let ((x0, x1), (x2, x3)) = (fours(ef0, gh0), fours(ef1, gh1));
        let low = |x, y| _mm256_permute2x128_si256::<0x20>(x, y);
        let high = |x, y| _mm256_permute2x128_si256::<0x31>(x, y);
        [low(w0, x0), low(w1, x1), low(w2, x2), low(w3, x3), high(w0, x0), high(w1, x1), high(w2, x2), high(w3, x3)]
    }

    /// # Safety
    /// The machine has AVX2.
    #[target_feature(enable = "avx2")]
    pub unsafe fn hash_lone(chunks: &[&[u8; CHUNK]; LANES], counters: &[u64; LANES], out: &mut [[u8; CV]; LANES]) {
        let broadcast = |word: u32| _mm256_set1_epi32(word as i32);
        let half = |shift: u32| {
            let words = counters.map(|counter| (counter >> shift) as u32);
            unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
        };
        let (low, high) = (half(0), half(32));
        let mut cv = IV.map(broadcast);
        for block in 0..CHUNK / BLOCK {
            let row = |lane: usize, part: usize| unsafe {
                let bytes = chunks[lane].as_ptr().add(block * BLOCK + part * 32);
                // Lanes stand far apart: no prefetcher follows eight of them to the next line but one.
                _mm_prefetch::<_MM_HINT_T0>(bytes.wrapping_add(256).cast());
                _mm256_loadu_si256(bytes.cast())
            };
            let mut m = [_mm256_setzero_si256(); 16];
            for part in 0..2 {
                let rows = [0, 1, 2, 3, 4, 5, 6, 7].map(|lane| row(lane, part));
                m[8 * part..8 * part + 8].copy_from_slice(&transpose(rows));
            }
            let start = if block == 0 { CHUNK_START } else { 0 };
            let end = if block == CHUNK / BLOCK - 1 { CHUNK_END } else { 0 };
            let mut v = [_mm256_setzero_si256(); 16];
            v[..8].copy_from_slice(&cv);
            for i in 0..4 {
                v[8 + i] = broadcast(IV[i]);
            }
            v[12] = low;
            v[13] = high;
            v[14] = broadcast(BLOCK as u32);
            v[15] = broadcast(u32::from(start | end));
            v = round::<0>(v, &m);
            v = round::<1>(v, &m);
            v = round::<2>(v, &m);
            v = round::<3>(v, &m);
            v = round::<4>(v, &m);
            v = round::<5>(v, &m);
            v = round::<6>(v, &m);
            for i in 0..8 {
                cv[i] = _mm256_xor_si256(v[i], v[8 + i]);
            }
        }
        for (words, bytes) in transpose(cv).iter().zip(out.iter_mut()) {
            unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), *words) };
        }
    }
}
