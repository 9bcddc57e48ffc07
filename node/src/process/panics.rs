//! Panic handling. If a panic ended only its task or thread, the process would continue with part of its work
//! missing. So a panic ends the whole process with exit code 70; then systemd or a supervising parent restarts it.
//! The exception are drivers of sensors, which are called through [`catch_panic`].

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crate::logging;
use crate::model::text;

thread_local! {
    /// Number of active calls of [`catch_panic`] in this thread.
    static CATCHING: Cell<u32> = const { Cell::new(0) };
}

/// Calls `run` and returns its result, or its panic as an error. The panic is logged and does not end the process.
pub(crate) fn catch_panic<T>(run: impl FnOnce() -> T) -> thread::Result<T> {
    CATCHING.set(CATCHING.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(run));
    CATCHING.set(CATCHING.get() - 1);
    result
}

/// Installs a panic hook that ends the process with `exit_code`, except within [`catch_panic`].
pub(crate) fn exit_on_panic(exit_code: u8) {
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.to_string().replace('\n', " ");
        let message = text::sanitize_line(&message);
        if CATCHING.get() > 0 {
            tracing::warn!("{message}");
            return;
        }
        let thread = thread::current();
        let name = thread.name().unwrap_or("unnamed");
        logging::finish_with_error(&format!("internal error, exiting: thread {name} {message}"));
        std::process::exit(exit_code.into());
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caught_panic_is_an_error_and_resets_the_counter() {
        assert!(catch_panic(|| catch_panic(|| panic!("of a driver")).is_err()).unwrap());
        assert_eq!(CATCHING.get(), 0);
        assert!(catch_panic(|| panic!("of a driver")).is_err());
        assert_eq!(CATCHING.get(), 0);
    }
}
