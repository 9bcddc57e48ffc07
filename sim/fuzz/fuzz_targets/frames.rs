//! What several clients send and suffer, as a script, on a server whose tables are looked at.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atalaya_sim::zookeeper::fuzz::frames(bytes));
