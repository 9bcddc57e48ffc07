//! Tests of the fuzz targets without coverage feedback, and with the seeds of the fuzzing corpus.

use std::path::Path;

use proptest::prelude::*;

use super::{codec, frames};
use crate::protocol::{ConnectRequest, decode};

/// Returns the seeds of a target, with their names.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.display().to_string(), std::fs::read(&path).unwrap())
    };
    let seeds: Vec<_> = std::fs::read_dir(folder).unwrap().map(read).collect();
    assert!(!seeds.is_empty(), "{target} has seeds");
    seeds
}

#[test]
fn seeds_of_codec_are_requests() {
    for (name, seed) in seeds("codec") {
        let is_first = ConnectRequest::decode(seed.clone().into()).is_ok();
        let is_request = matches!(decode(seed.clone().into()), Ok((_, Ok(_))));
        // A past finding may be neither.
        assert!(is_first || is_request || name.contains("/found-"), "{name}");
        codec(&seed);
    }
}

#[test]
fn seeds_of_frames_run_without_a_finding() {
    for (_, seed) in seeds("frames") {
        frames(&seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn frames_accepts_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        frames(&bytes);
    }

    #[test]
    fn codec_accepts_any_bytes(bytes: Vec<u8>) {
        codec(&bytes);
    }
}
