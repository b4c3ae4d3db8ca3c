//! Parts of a file, hashed by several threads: pieces of `2^piece_log` leaves, each a complete subtree.

use crate::chaining::{CHUNK, CV, MAX_GROUP_LOG};
use crate::mapped::Mapped;
use crate::tree::{Levels, Tree};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Pieces of one file of which a call hashes some.
pub struct Pieces {
    pub piece_log: u32,
    pub total_bytes: u64,
    /// Number of the first piece of the call.
    pub first: u64,
    pub count: usize,
}

impl Pieces {
    fn piece_bytes(&self) -> u64 {
        (CHUNK as u64) << self.piece_log
    }

    /// Bytes of piece `index` of the call.
    fn length(&self, index: usize) -> usize {
        let at = (self.first + index as u64) * self.piece_bytes();
        self.piece_bytes().min(self.total_bytes - at) as usize
    }

    /// First byte of the call, and bytes in it.
    pub fn range(&self) -> (u64, usize) {
        let start = self.first * self.piece_bytes();
        let end = self.total_bytes.min(start + self.count as u64 * self.piece_bytes());
        (start, (end - start) as usize)
    }

    /// Bytes of the trees of all pieces, one after the other.
    pub fn tree_bytes(&self) -> usize {
        (0..self.count).map(|index| self.levels(index, 0).bytes()).sum()
    }

    fn levels(&self, index: usize, group_log: u32) -> Levels {
        let nodes = self.length(index).div_ceil(CHUNK << group_log).max(1);
        Levels::new(nodes).expect("a piece has 1 to 2^53 nodes")
    }
}

/// Memory that threads write disjoint places of.
struct Shared(*mut u8);
unsafe impl Sync for Shared {}

/// Hashes all pieces; `tops` gets 32 bytes a piece, `trees` (if it is not empty) the whole tree of each.
pub fn hash_pieces(pieces: &Pieces, mapped: &Mapped, threads: usize, tops: &mut [u8], trees: &mut [u8]) {
    assert!(tops.len() == pieces.count * CV);
    let keep = !trees.is_empty();
    assert!(!keep || trees.len() == pieces.tree_bytes());
    // Where only the top of a piece is wanted, what lies below groups never leaves the L1 cache.
    let group_log = if keep { 0 } else { MAX_GROUP_LOG.min(pieces.piece_log) };
    let (tops, trees) = (Shared(tops.as_mut_ptr()), Shared(trees.as_mut_ptr()));
    let tree_bytes = if keep { pieces.levels(0, 0).bytes() } else { 0 };
    let next = AtomicUsize::new(0);
    let work = || {
        let (tops, trees) = (&tops, &trees);
        let mut scratch = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= pieces.count || mapped.torn() {
                return;
            }
            let levels = pieces.levels(index, group_log);
            let (bytes, nodes, top, top_offset) = (levels.bytes(), levels.nodes(), levels.top, levels.top_offset());
            let memory = if keep {
                unsafe { trees.0.add(index * tree_bytes) }
            } else {
                scratch.resize(bytes, 0);
                scratch.as_mut_ptr()
            };
            let tree = unsafe { Tree::new(memory, levels) };
            let from = index * pieces.piece_bytes() as usize;
            let base = (pieces.first + index as u64) << pieces.piece_log;
            mapped.read(from, from + pieces.length(index), |part| {
                tree.hash_range(part, 0, nodes, base, group_log);
            });
            // Every level is complete; a piece's own root, which nobody reads, makes its memory whole.
            tree.finish(top);
            unsafe { memory.add(top_offset).copy_to_nonoverlapping(tops.0.add(index * CV), CV) };
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(pieces.count) {
            // A thread that the system refuses is one less; this one does all that is left.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
}
