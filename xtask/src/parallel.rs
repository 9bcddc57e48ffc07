//! Work on several threads, and its results on one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use anyhow::ensure;

/// Calls `work` for all items, up to `jobs` at the same time, and `done` for each result, in the order of their ends.
/// `start` returns the state that a thread keeps between items.
pub(crate) fn run_all<T: Sync, S, R: Send>(
    jobs: usize,
    items: &[T],
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
    mut done: impl FnMut(&T, R),
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    let serve = |sender: mpsc::Sender<_>| {
        let mut state = start();
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            // Fails only after a panic of `done`.
            let _ = sender.send((item, work(&mut state, item)));
        }
    };
    let (serve, jobs) = (&serve, jobs.min(items.len()));
    thread::scope(|scope| {
        let spawn = |sender| scope.spawn(move || serve(sender));
        let threads: Vec<_> = (0..jobs).map(|_| spawn(sender.clone())).collect();
        drop(sender);
        results.into_iter().for_each(|(item, result)| done(item, result));
        let panicked = threads.into_iter().filter_map(|thread| thread.join().err()).count();
        ensure!(panicked == 0, "{panicked} of {jobs} jobs panicked, see above");
        Ok(())
    })
}
