//! Decodes one frame as every message that a client may send, then encodes and decodes it again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atalaya_zookeeper::fuzz::codec(bytes));
