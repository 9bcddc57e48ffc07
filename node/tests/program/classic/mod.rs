//! `atalaya classic`: master, worker and client of the classic task layout, with Python programs and without them.
#![cfg(unix)]

mod failures;
mod roles;
mod support;
mod with_python;
