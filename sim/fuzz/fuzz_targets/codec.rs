//! One frame, decoded as everything that a client may send, encoded and decoded again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atalaya_sim::zookeeper::fuzz::codec(bytes));
