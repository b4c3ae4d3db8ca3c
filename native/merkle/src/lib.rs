//! BLAKE3 trees for Node.js: synchronous functions that write into the caller's buffers, which may lie in
//! SharedArrayBuffers. All are single-threaded but `hash_file_pieces`; several workers may fill one tree: see `hash_range`
//! and `finish`.
//!
//! TypeScript validates arguments; what is checked here again is what memory safety needs. Panics are caught at the
//! boundary and become JavaScript errors.

mod chaining;
mod lone;
#[cfg(unix)]
mod mapped;
#[cfg(unix)]
mod pieces;
mod tree;

use chaining::{CHUNK, CV, MAX_GROUP_LOG};
#[cfg(unix)]
use mapped::Mapped;
use napi::bindgen_prelude::{Error, Result, Status, Uint8ArraySlice};
use napi_derive::napi;
#[cfg(unix)]
use pieces::{hash_pieces, Pieces};
use tree::{Levels, Tree};

fn invalid(message: String) -> Error {
    Error::new(Status::InvalidArg, message)
}

fn index(value: f64, name: &str) -> Result<u64> {
    if value >= 0.0 && value.fract() == 0.0 && value <= 9_007_199_254_740_991.0 {
        Ok(value as u64)
    } else {
        Err(invalid(format!("{name}: expected an integer in [0, 2^53), found {value}")))
    }
}

fn group(value: u32) -> Result<u32> {
    if value <= MAX_GROUP_LOG {
        Ok(value)
    } else {
        Err(invalid(format!("groupLog: expected 0 to {MAX_GROUP_LOG}, found {value}")))
    }
}

/// Level-0 values of an input of `bytes` bytes.
fn node_count(bytes: usize, group_log: u32) -> usize {
    bytes.div_ceil(CHUNK << group_log).max(1)
}

fn open_tree(memory: &mut Uint8ArraySlice, nodes: u64) -> Result<Tree> {
    let levels = usize::try_from(nodes).ok().and_then(Levels::new);
    let levels = levels.ok_or_else(|| invalid(format!("nodes: expected 1 or more, found {nodes}")))?;
    let expected = levels.bytes();
    if memory.len() != expected {
        return Err(invalid(format!("tree: expected {expected} bytes for {nodes} nodes, found {}", memory.len())));
    }
    // The pointer is taken at once; the mutable slice does not live on (see `Tree`).
    let pointer = unsafe { memory.as_mut() }.as_mut_ptr();
    Ok(unsafe { Tree::new(pointer, levels) })
}

/// Version of this interface; the loader refuses another one.
#[napi(catch_unwind)]
pub fn interface_version() -> u32 {
    2
}

/// BLAKE3 of `bytes` into `out` (32 bytes).
#[napi(catch_unwind)]
pub fn hash(bytes: &[u8], mut out: Uint8ArraySlice) -> Result<()> {
    if out.len() != 32 {
        return Err(invalid(format!("out: expected 32 bytes, found {}", out.len())));
    }
    unsafe { out.as_mut() }.copy_from_slice(blake3::hash(bytes).as_bytes());
    Ok(())
}

/// Hashes the level-0 values that `bytes` hold, the first of which is number `first` of the tree's `nodes`, and all
/// values above that rest on them only. `chunk_base` is the chunk number of the tree's first leaf in the whole input.
/// Only the last level-0 value of a tree may be short.
#[napi(catch_unwind)]
pub fn hash_range(
    bytes: &[u8],
    mut memory: Uint8ArraySlice,
    nodes: f64,
    first: f64,
    chunk_base: f64,
    group_log: u32,
) -> Result<()> {
    let (nodes, first, base) = (index(nodes, "nodes")?, index(first, "first")?, index(chunk_base, "chunkBase")?);
    let group_log = group(group_log)?;
    let tree = open_tree(&mut memory, nodes)?;
    let count = node_count(bytes.len(), group_log) as u64;
    let end = first + count;
    let short = !bytes.len().is_multiple_of(CHUNK << group_log) || bytes.is_empty();
    if end > nodes || (short && end != nodes) || (bytes.is_empty() && (nodes != 1 || base != 0)) {
        let length = bytes.len();
        return Err(invalid(format!("bytes: {length} bytes at node {first} do not fit a tree of {nodes} nodes")));
    }
    if base % (1 << group_log) != 0 {
        return Err(invalid(format!("chunkBase: expected a multiple of {}, found {base}", 1 << group_log)));
    }
    tree.hash_range(bytes, first as usize, end as usize, base, group_log);
    Ok(())
}

/// Completes a tree whose levels 0…`from` are complete: every level above and the root.
#[napi(catch_unwind)]
pub fn finish(mut memory: Uint8ArraySlice, nodes: f64, from: u32) -> Result<()> {
    let tree = open_tree(&mut memory, index(nodes, "nodes")?)?;
    tree.finish(from.min(64) as usize);
    Ok(())
}

/// Rehashes the level-0 values `dirty` (ascending, unique), everything above them and the root.
/// `bytes` are those of the whole tree.
#[napi(catch_unwind)]
pub fn update(
    bytes: &[u8],
    mut memory: Uint8ArraySlice,
    nodes: f64,
    chunk_base: f64,
    group_log: u32,
    dirty: &[u32],
) -> Result<()> {
    let (nodes, base) = (index(nodes, "nodes")?, index(chunk_base, "chunkBase")?);
    let group_log = group(group_log)?;
    let tree = open_tree(&mut memory, nodes)?;
    if node_count(bytes.len(), group_log) as u64 != nodes || (bytes.is_empty() && base != 0) {
        return Err(invalid(format!("bytes: {} bytes do not make {nodes} nodes", bytes.len())));
    }
    if base % (1 << group_log) != 0 {
        return Err(invalid(format!("chunkBase: expected a multiple of {}, found {base}", 1 << group_log)));
    }
    let ascending = dirty.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || dirty.last().is_some_and(|&last| u64::from(last) >= nodes) {
        return Err(invalid(format!("dirty: expected ascending node numbers below {nodes}")));
    }
    tree.update(bytes, base, group_log, dirty);
    Ok(())
}

/// Pieces of a file, each a complete subtree of `2^piece_log` leaves, by `threads` threads that read them where they lie in
/// the page cache: `tops.len() / 32` pieces from number `first`. `tops` gets the chaining value at the top of each; `trees`, if
/// it is not empty, their trees one after the other.
///
/// `None` where the system cannot map the file; `false` if bytes were missing: the file is shorter than `total_bytes`, or could
/// not be read there. What was written is of no use then.
#[cfg(unix)]
#[napi(catch_unwind)]
pub fn hash_file_pieces(
    descriptor: i32,
    total_bytes: f64,
    piece_log: u32,
    first: f64,
    threads: u32,
    mut tops: Uint8ArraySlice,
    mut trees: Uint8ArraySlice,
) -> Result<Option<bool>> {
    let (total_bytes, first) = (index(total_bytes, "totalBytes")?, index(first, "first")?);
    // 256 KiB or more: pieces begin at pages.
    if !(8..=20).contains(&piece_log) {
        return Err(invalid(format!("pieceLog: expected 8 to 20, found {piece_log}")));
    }
    let all = total_bytes.div_ceil((CHUNK as u64) << piece_log);
    let count = tops.len() / CV;
    if count == 0 || !tops.len().is_multiple_of(CV) || first + count as u64 > all {
        let length = tops.len();
        return Err(invalid(format!("tops: {length} bytes from piece {first} do not fit a file of {all} pieces")));
    }
    let pieces = Pieces { piece_log, total_bytes, first, count };
    if !trees.is_empty() && trees.len() != pieces.tree_bytes() {
        let (expected, found) = (pieces.tree_bytes(), trees.len());
        return Err(invalid(format!("trees: expected 0 or {expected} bytes, found {found}")));
    }
    let (start, length) = pieces.range();
    let Ok(mapped) = Mapped::new(descriptor, start, length) else { return Ok(None) };
    // Safety: both were checked; no other thread of JavaScript writes them while the call runs.
    let (tops, trees) = unsafe { (tops.as_mut(), trees.as_mut()) };
    hash_pieces(&pieces, &mapped, threads.clamp(1, 1024) as usize, tops, trees);
    Ok(Some(!mapped.torn()))
}
