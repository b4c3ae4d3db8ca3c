//! A peer of `merkle/…`: the one-shot hash of the blake3 crate, on one thread or on several by its own rayon support.
//!
//! `blake3-peer BYTES THREADS` says `{"type":"ready",…}` once it is warm and answers every line of its standard input
//! (`{"calls":N,…}`) with the milliseconds of so many calls. See `bench/interleave.ts`.

use std::io::{stdin, stdout, BufRead, Write};
use std::time::Instant;

const WARM_UP_CALLS: usize = 3;

fn hash(bytes: &[u8], threads: usize) -> blake3::Hash {
    if threads == 1 {
        return blake3::hash(bytes);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_rayon(bytes);
    hasher.finalize()
}

/// Milliseconds of some calls, as a JSON array.
fn timed(bytes: &[u8], threads: usize, calls: usize) -> String {
    let samples: Vec<String> = (0..calls)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(hash(std::hint::black_box(bytes), threads));
            format!("{:.6}", start.elapsed().as_secs_f64() * 1e3)
        })
        .collect();
    format!("[{}]", samples.join(","))
}

/// The number after `"calls":`; 1 where there is none.
fn calls_of(line: &str) -> usize {
    let after = line.split("\"calls\":").nth(1).unwrap_or("1");
    let digits: String = after.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(1)
}

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let [length, threads] = numbers[..] else {
        eprintln!("usage: blake3-peer BYTES THREADS");
        std::process::exit(2);
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the thread pool is set up once");
    let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
    let warm_up = timed(&bytes, threads, WARM_UP_CALLS);
    let name = format!("blake3 crate one-shot, {threads} thread{}", if threads == 1 { "" } else { "s" });
    println!(r#"{{"type":"ready","name":"{name}","threads":{threads},"warmUpMs":{warm_up}}}"#);
    for line in stdin().lock().lines().map_while(Result::ok) {
        println!(r#"{{"type":"round","samplesMs":{}}}"#, timed(&bytes, threads, calls_of(&line)));
        let _ = stdout().flush();
    }
}
