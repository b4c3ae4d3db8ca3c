//! Trees over arbitrary bytes, hashed in arbitrary pieces and updated at arbitrary places: the root is always the hash
//! that the blake3 crate gives for the same bytes. Run by scripts/fuzz.mjs.
#![no_main]

#[path = "../../src/chaining.rs"]
mod chaining;
#[path = "../../src/lone.rs"]
mod lone;
#[path = "../../src/tree.rs"]
mod tree;

use chaining::{CHUNK, CV, MAX_GROUP_LOG};
use libfuzzer_sys::fuzz_target;
use tree::{Levels, Tree};

fuzz_target!(|data: &[u8]| {
    if data.len() < 8 {
        return;
    }
    let (head, rest) = data.split_at(8);
    let group_log = u32::from(head[0]) % (MAX_GROUP_LOG + 1);
    // A seed byte and a length make inputs of many chunks out of few bytes.
    let length = usize::from(u16::from_le_bytes([head[1], head[2]])) * (1 + usize::from(head[3] & 3) * 8);
    let mut bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8 ^ head[4]).collect();
    let copied = rest.len().min(length);
    bytes[..copied].copy_from_slice(&rest[..copied]);

    let node_bytes = CHUNK << group_log;
    let nodes = length.div_ceil(node_bytes).max(1);
    let levels = Levels::new(nodes).expect("at least one node");
    let mut memory = vec![0u8; levels.bytes()];
    let tree = unsafe { Tree::new(memory.as_mut_ptr(), levels) };

    // Pieces that any number of workers could have hashed.
    let piece = 1 + usize::from(head[5]) % nodes;
    let mut low = 0;
    while low < nodes {
        let high = nodes.min(low + piece);
        let part = &bytes[(low * node_bytes).min(length)..length.min(high * node_bytes)];
        tree.hash_range(part, low, high, 0, group_log);
        low = high;
    }
    tree.finish(0);
    assert_eq!(&memory[memory.len() - CV..], blake3::hash(&bytes).as_bytes());

    let mut dirty: Vec<u32> = rest.iter().take(12).map(|&byte| (usize::from(byte) * 7 % nodes) as u32).collect();
    dirty.sort_unstable();
    dirty.dedup();
    for &node in &dirty {
        if let Some(byte) = bytes.get_mut(node as usize * node_bytes) {
            *byte ^= head[6] | 1;
        }
    }
    if !dirty.is_empty() {
        let levels = Levels::new(nodes).expect("at least one node");
        let tree = unsafe { Tree::new(memory.as_mut_ptr(), levels) };
        tree.update(&bytes, 0, group_log, &dirty);
        assert_eq!(&memory[memory.len() - CV..], blake3::hash(&bytes).as_bytes());
    }
});
