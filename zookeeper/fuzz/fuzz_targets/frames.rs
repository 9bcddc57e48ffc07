//! Runs a script of several clients and faults on a server, and checks the server's tables.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atalaya_zookeeper::fuzz::frames(bytes));
