//! Panics. A task or a thread that panics would leave a process that runs and does part of its work, or none. So a
//! panic ends the whole process with exit code 70, whatever starts it again does so, and a supervising parent clears
//! up. The exception are the drivers of sensors, which are called through [`contained`].

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crate::logging;
use crate::model::text;

thread_local! {
    /// Number of calls of [`contained`] that this thread is in.
    static CONTAINED: Cell<u32> = const { Cell::new(0) };
}

/// Calls `run`, whose panic is an error and nothing more.
///
/// # Errors
/// `run` panicked.
pub fn contained<T>(run: impl FnOnce() -> T) -> thread::Result<T> {
    CONTAINED.set(CONTAINED.get() + 1);
    let done = catch_unwind(AssertUnwindSafe(run));
    CONTAINED.set(CONTAINED.get() - 1);
    done
}

/// Lets each panic from now on, except the contained ones, end the process with `exit_code`.
pub(crate) fn end_the_process(exit_code: u8) {
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.to_string().replace('\n', " ");
        let message = text::sanitize_line(&message);
        if CONTAINED.get() > 0 {
            tracing::warn!("{message}");
            return;
        }
        let thread = thread::current();
        let name = thread.name().unwrap_or("unnamed");
        logging::conclude_with_error(&format!("a defect ends this process: in thread {name}: {message}"));
        std::process::exit(exit_code.into());
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contained_panic_is_an_error_and_leaves_no_mark() {
        assert!(contained(|| contained(|| panic!("of a driver")).is_err()).unwrap());
        assert_eq!(CONTAINED.get(), 0);
        assert!(contained(|| panic!("of a driver")).is_err());
        assert_eq!(CONTAINED.get(), 0);
    }
}
