//! A tree of chaining values in one caller-owned buffer.
//!
//! Layout: level 0 (one value per leaf or group) ‖ level 1 ‖ … ‖ top level (one value) ‖ root (the hash).
//! Level l + 1 pairs the values of level l; an odd last one moves up unchanged. That is BLAKE3's tree: a left subtree
//! holds the largest power of two of chunks that leaves at least one to its right.

use crate::chaining::{hash_nodes, hash_pairs, hash_root, CHUNK, CV};
use crate::lone::{self, hash_lone, LANES};
use blake3::platform::Platform;
use std::{array, slice};

/// Level-0 values per inner block: their values and those of eight levels above stay in the L1 cache.
const BLOCK_LOG: usize = 8;
/// Parents that one `hash_many` takes.
const BATCH: usize = 16;
/// 2^53 leaves is more than a JavaScript number can count.
const MAX_LEVELS: usize = 54;

/// The lengths of the levels of a tree over `nodes` level-0 values.
pub struct Levels {
    counts: [usize; MAX_LEVELS],
    offsets: [usize; MAX_LEVELS],
    /// Index of the top level.
    pub top: usize,
}

impl Levels {
    /// `None` if `nodes` is 0 or beyond 2^53.
    pub fn new(nodes: usize) -> Option<Self> {
        if nodes == 0 || nodes as u64 > 1 << 53 {
            return None;
        }
        let mut levels = Levels { counts: [0; MAX_LEVELS], offsets: [0; MAX_LEVELS], top: 0 };
        levels.counts[0] = nodes;
        while levels.counts[levels.top] > 1 {
            let count = levels.counts[levels.top];
            levels.offsets[levels.top + 1] = levels.offsets[levels.top] + count;
            levels.counts[levels.top + 1] = count.div_ceil(2);
            levels.top += 1;
        }
        Some(levels)
    }

    /// Number of level-0 values.
    pub fn nodes(&self) -> usize {
        self.counts[0]
    }

    /// Where the value of the top level stands in the buffer, bytes.
    pub fn top_offset(&self) -> usize {
        self.offsets[self.top] * CV
    }

    /// Bytes of the whole buffer, the root included.
    pub fn bytes(&self) -> usize {
        (self.offsets[self.top] + 2) * CV
    }
}

/// The caller's buffer. A raw pointer and not a slice: several threads write disjoint values of one buffer at the
/// same time, so no thread may hold a mutable reference to all of it.
pub struct Tree {
    memory: *mut u8,
    levels: Levels,
    platform: Platform,
}

impl Tree {
    /// Safety: `memory` points to `levels.bytes()` bytes that outlive the tree; no other thread touches the values
    /// that a call writes, or writes those that it reads, while the call runs.
    pub unsafe fn new(memory: *mut u8, levels: Levels) -> Self {
        Tree { memory, levels, platform: Platform::detect() }
    }

    /// Values [low, high) of a level, for reading.
    fn values(&self, level: usize, low: usize, high: usize) -> &[u8] {
        assert!(low <= high && high <= self.levels.counts[level]);
        let start = (self.levels.offsets[level] + low) * CV;
        unsafe { slice::from_raw_parts(self.memory.add(start), (high - low) * CV) }
    }

    /// Values [low, high) of a level, for writing. Never overlaps what `values` gave for another level.
    #[allow(clippy::mut_from_ref)]
    fn values_mut(&self, level: usize, low: usize, high: usize) -> &mut [u8] {
        assert!(low <= high && high <= self.levels.counts[level]);
        let start = (self.levels.offsets[level] + low) * CV;
        unsafe { slice::from_raw_parts_mut(self.memory.add(start), (high - low) * CV) }
    }

    /// The root's place, for writing: it belongs to no level, so it never overlaps what `values` gave.
    #[allow(clippy::mut_from_ref)]
    fn root_mut(&self) -> &mut [u8] {
        unsafe { slice::from_raw_parts_mut(self.memory.add(self.levels.bytes() - CV), CV) }
    }

    /// Computes values [low, high) of `level` from the level below.
    fn raise(&self, level: usize, low: usize, high: usize) {
        let below = self.levels.counts[level - 1];
        let pairs = high.min(below / 2);
        if low < pairs {
            hash_pairs(self.platform, self.values(level - 1, 2 * low, 2 * pairs), self.values_mut(level, low, pairs));
        }
        if high > pairs && low < high {
            self.values_mut(level, high - 1, high).copy_from_slice(self.values(level - 1, below - 1, below));
        }
    }

    /// Computes the levels `from + 1` to `to` as far as they rest on level-0 values [low, high) only.
    fn raise_range(&self, from: usize, to: usize, low: usize, high: usize) {
        for level in from + 1..=to.min(self.levels.top) {
            let first = low.div_ceil(1 << level);
            let end = if high == self.levels.counts[0] { self.levels.counts[level] } else { high >> level };
            if first >= end {
                return;
            }
            self.raise(level, first, end);
        }
    }

    /// Hashes the level-0 values [low, high) from their bytes, and every value above that rests on them only.
    /// `base` is the chunk number of value 0 in the whole input.
    pub fn hash_range(&self, bytes: &[u8], low: usize, high: usize, base: u64, group_log: u32) {
        let node_bytes = CHUNK << group_log;
        let mut start = low;
        while start < high {
            let end = high.min(((start >> BLOCK_LOG) + 1) << BLOCK_LOG);
            let from = (start - low) * node_bytes;
            let part = &bytes[from..bytes.len().min((end - low) * node_bytes)];
            let counter = base + ((start as u64) << group_log);
            hash_nodes(self.platform, part, counter, group_log, self.values_mut(0, start, end));
            self.raise_range(0, BLOCK_LOG, start, end);
            start = end;
        }
        self.raise_range(BLOCK_LOG, self.levels.top, low, high);
        if self.levels.top == 0 && base == 0 {
            self.root_mut().copy_from_slice(blake3::hash(bytes).as_bytes());
        }
    }

    /// Completes a tree whose levels 0…`from` are complete: all levels above, then the root.
    pub fn finish(&self, from: usize) {
        for level in from + 1..=self.levels.top {
            self.raise(level, 0, self.levels.counts[level]);
        }
        self.write_root();
    }

    /// The root of an input of one leaf or group needs its bytes, so `hash_range` writes that one.
    fn write_root(&self) {
        if self.levels.top > 0 {
            let children = self.values(self.levels.top - 1, 0, 2);
            if let Ok(children) = children.try_into() {
                hash_root(self.platform, children, self.root_mut());
            }
        }
    }

    /// Rehashes the level-0 values `dirty` (ascending, unique) and every value above them, then the root.
    /// `bytes` are those of all level-0 values.
    pub fn update(&self, bytes: &[u8], base: u64, group_log: u32, dirty: &[u32]) {
        let node_bytes = CHUNK << group_log;
        let whole = bytes.len() / CHUNK;
        let lone = group_log == 0 && lone::available();
        let mut apart = Vec::with_capacity(if lone { dirty.len() } else { 0 });
        // Neighbours are hashed together: chunk numbers inside one `hash_many` must be consecutive.
        for run in dirty.chunk_by(|a, b| a + 1 == *b) {
            let low = run[0] as usize;
            if lone && run.len() < LANES && low + run.len() <= whole {
                apart.extend_from_slice(run);
                continue;
            }
            let high = low + run.len();
            let part = &bytes[low * node_bytes..bytes.len().min(high * node_bytes)];
            let counter = base + ((low as u64) << group_log);
            hash_nodes(self.platform, part, counter, group_log, self.values_mut(0, low, high));
        }
        self.update_apart(bytes, base, &apart);
        let mut nodes: Vec<u32> = dirty.to_vec();
        for level in 1..=self.levels.top {
            for node in nodes.iter_mut() {
                *node >>= 1;
            }
            nodes.dedup();
            for batch in nodes.chunks(BATCH) {
                self.raise_scattered(level, batch);
            }
        }
        self.write_root();
        if self.levels.top == 0 && base == 0 {
            self.root_mut().copy_from_slice(blake3::hash(bytes).as_bytes());
        }
    }

    /// Rehashes whole leaves that need not be neighbours.
    fn update_apart(&self, bytes: &[u8], base: u64, leaves: &[u32]) {
        let chunk = |leaf: u32| -> &[u8; CHUNK] { &bytes.as_chunks::<CHUNK>().0[leaf as usize] };
        let mut batches = leaves.chunks_exact(LANES);
        for batch in &mut batches {
            let mut values = [[0u8; CV]; LANES];
            let (chunks, counters) =
                (array::from_fn(|i| chunk(batch[i])), array::from_fn(|i| base + u64::from(batch[i])));
            // Safety: without `lone::available` there are no leaves here.
            unsafe { hash_lone(&chunks, &counters, &mut values) };
            for (&leaf, value) in batch.iter().zip(&values) {
                self.values_mut(0, leaf as usize, leaf as usize + 1).copy_from_slice(value);
            }
        }
        for &leaf in batches.remainder() {
            let out = self.values_mut(0, leaf as usize, leaf as usize + 1);
            hash_nodes(self.platform, chunk(leaf), base + u64::from(leaf), 0, out);
        }
    }

    /// Computes at most `BATCH` values of `level` that need not be neighbours.
    fn raise_scattered(&self, level: usize, nodes: &[u32]) {
        let mut children = [0u8; BATCH * 2 * CV];
        let mut parents = [0u8; BATCH * CV];
        let pairs = self.levels.counts[level - 1] / 2;
        let paired = nodes.iter().filter(|&&node| (node as usize) < pairs).count();
        for (&node, slot) in nodes[..paired].iter().zip(children.chunks_exact_mut(2 * CV)) {
            let left = 2 * node as usize;
            slot.copy_from_slice(self.values(level - 1, left, left + 2));
        }
        hash_pairs(self.platform, &children[..paired * 2 * CV], &mut parents[..paired * CV]);
        for (&node, value) in nodes[..paired].iter().zip(parents.chunks_exact(CV)) {
            self.values_mut(level, node as usize, node as usize + 1).copy_from_slice(value);
        }
        // Ascending order: only the last one can be the odd one that moves up.
        if paired < nodes.len() {
            self.raise(level, pairs, pairs + 1);
        }
    }
}
