//! Parts of the development tasks that `atalaya-bench` also uses: calls of cargo, compilation for other machines, and
//! the emulated Raspberry Pi.
#![allow(clippy::print_stderr, reason = "for developers: progress and errors go to stderr")]

pub mod cargo;
#[cfg(unix)]
pub mod pi;
pub mod toolchain;
