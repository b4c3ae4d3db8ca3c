//! Chaining values of chunks, groups and parents, as many at once as the machine's SIMD width allows.
//!
//! `blake3::platform` is the crate's own run-time dispatch. One chunk per `Hasher` would use no SIMD across chunks
//! and run five times slower than sixteen chunks per `hash_many`.

use blake3::hazmat::HasherExt;
use blake3::platform::Platform;
use blake3::IncrementCounter;

/// Bytes of a chaining value.
pub const CV: usize = 32;
/// Bytes of a chunk: one leaf of the tree.
pub const CHUNK: usize = 1024;
/// Largest supported group, as a power of two of chunks.
pub const MAX_GROUP_LOG: u32 = 8;
/// Bytes of a compression block.
pub const BLOCK: usize = 64;
/// Inputs of one `hash_many`: the widest machine (AVX-512) takes 16, narrower ones loop inside.
const BATCH: usize = 16;

/// Chunks that are hashed together when groups are kept; a multiple of every group.
const WIDE: usize = 1 << MAX_GROUP_LOG;
const WIDE_BYTES: usize = WIDE * CHUNK;

// BLAKE3 specification, section 2.2, table 3: domain flags.
pub const CHUNK_START: u8 = 1;
pub const CHUNK_END: u8 = 2;
const PARENT: u8 = 4;
const ROOT: u8 = 8;

/// BLAKE3 specification, section 2.2, table 1.
pub const IV: [u32; 8] =
    [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19];

fn store_words(words: &[u32; 8], out: &mut [u8]) {
    for (word, bytes) in words.iter().zip(out.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}

/// Chaining value of one chunk of 0…1024 bytes. Only the last chunk of an input is short, only an empty input's is empty.
fn short_chunk(platform: Platform, bytes: &[u8], counter: u64, out: &mut [u8]) {
    let mut cv = IV;
    let blocks = bytes.len().div_ceil(BLOCK).max(1);
    for index in 0..blocks {
        let part = &bytes[index * BLOCK..bytes.len().min((index + 1) * BLOCK)];
        let mut block = [0u8; BLOCK];
        block[..part.len()].copy_from_slice(part);
        let start = if index == 0 { CHUNK_START } else { 0 };
        let end = if index == blocks - 1 { CHUNK_END } else { 0 };
        platform.compress_in_place(&mut cv, &block, part.len() as u8, counter, start | end);
    }
    store_words(&cv, out);
}

/// Chaining values of consecutive chunks; `counter` is the number of the first one in the whole input.
/// `out` holds 32 bytes a chunk.
pub fn hash_chunks(platform: Platform, bytes: &[u8], counter: u64, out: &mut [u8]) {
    let (whole, rest) = bytes.as_chunks::<CHUNK>();
    let mut next = counter;
    let mut outputs = out.chunks_mut(BATCH * CV);
    for batch in whole.chunks(BATCH) {
        let mut inputs = [&batch[0]; BATCH];
        for (slot, chunk) in inputs.iter_mut().zip(batch) {
            *slot = chunk;
        }
        let Some(output) = outputs.next() else { return };
        platform.hash_many(
            &inputs[..batch.len()],
            &IV,
            next,
            IncrementCounter::Yes,
            0,
            CHUNK_START,
            CHUNK_END,
            &mut output[..batch.len() * CV],
        );
        next += batch.len() as u64;
    }
    if !rest.is_empty() || whole.is_empty() {
        let tail = whole.len() * CV;
        short_chunk(platform, rest, next, &mut out[tail..tail + CV]);
    }
}

/// Chaining values of consecutive groups of `2^group_log` chunks, the last one possibly short.
/// Requires: `counter` is a multiple of `2^group_log`; `bytes` is not empty.
fn hash_groups(platform: Platform, bytes: &[u8], counter: u64, group_log: u32, out: &mut [u8]) {
    let (blocks, rest) = bytes.as_chunks::<WIDE_BYTES>();
    let wide_groups = WIDE >> group_log;
    // Many groups' parents at once fill the SIMD width; a group alone has 8, 4, 2, 1 pairs a level.
    let mut outputs = out.chunks_exact_mut(wide_groups * CV);
    for (index, (block, output)) in blocks.iter().zip(&mut outputs).enumerate() {
        hash_wide(platform, block, counter + (index * WIDE) as u64, group_log, output);
    }
    let group_bytes = CHUNK << group_log;
    let first = counter * CHUNK as u64 + (blocks.len() * WIDE_BYTES) as u64;
    let done = blocks.len() * wide_groups * CV;
    for (index, (group, output)) in rest.chunks(group_bytes).zip(out[done..].chunks_exact_mut(CV)).enumerate() {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(first + (index * group_bytes) as u64).update(group);
        output.copy_from_slice(&hasher.finalize_non_root());
    }
}

/// Chaining values of the groups of `WIDE` chunks, level by level over all of them.
fn hash_wide(platform: Platform, bytes: &[u8; WIDE_BYTES], counter: u64, group_log: u32, out: &mut [u8]) {
    let (mut first, mut second) = ([0u8; WIDE * CV], [0u8; WIDE / 2 * CV]);
    let (mut children, mut parents) = (&mut first[..], &mut second[..]);
    hash_chunks(platform, bytes, counter, children);
    let mut length = WIDE * CV;
    for _ in 0..group_log {
        hash_pairs(platform, &children[..length], &mut parents[..length / 2]);
        std::mem::swap(&mut children, &mut parents);
        length /= 2;
    }
    out.copy_from_slice(&children[..length]);
}

/// Chaining values of the lowest kept level: chunks for `group_log` 0, groups of `2^group_log` chunks above.
pub fn hash_nodes(platform: Platform, bytes: &[u8], counter: u64, group_log: u32, out: &mut [u8]) {
    if group_log == 0 || bytes.is_empty() {
        hash_chunks(platform, bytes, counter, out);
    } else {
        hash_groups(platform, bytes, counter, group_log, out);
    }
}

/// Parents of consecutive pairs: 64 bytes of `children` give 32 bytes of `out`.
pub fn hash_pairs(platform: Platform, children: &[u8], out: &mut [u8]) {
    let (pairs, _) = children.as_chunks::<BLOCK>();
    for (batch, output) in pairs.chunks(BATCH).zip(out.chunks_mut(BATCH * CV)) {
        let mut inputs = [&batch[0]; BATCH];
        for (slot, pair) in inputs.iter_mut().zip(batch) {
            *slot = pair;
        }
        let length = batch.len();
        // A parent's counter is always 0 (specification, section 2.4).
        platform.hash_many(&inputs[..length], &IV, 0, IncrementCounter::No, PARENT, 0, 0, &mut output[..length * CV]);
    }
}

/// The hash of an input of at least two chunks, from the two chaining values at its top.
pub fn hash_root(platform: Platform, children: &[u8; BLOCK], out: &mut [u8]) {
    let mut cv = IV;
    platform.compress_in_place(&mut cv, children, BLOCK as u8, 0, PARENT | ROOT);
    store_words(&cv, out);
}
