//! Folders for servers and nodes, below the target folder, that do not pile up.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Once;

use tempfile::TempDir;

/// The file in each scratch folder whose lock says that somebody still uses it.
const IN_USE: &str = ".in-use";

/// A folder that is removed when dropped. One that a killed process left behind is removed by the next process that
/// makes one.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
    /// Its lock ends with the process, however that ends.
    _in_use: File,
}

impl Scratch {
    /// A new, empty folder.
    ///
    /// # Panics
    ///
    /// When the target folder cannot be written.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        static SWEEP: Once = Once::new();
        let parent = testbed_dir().join("scratch");
        fs::create_dir_all(&parent).expect("make the scratch folder below the target folder");
        SWEEP.call_once(|| sweep(&parent));
        // A sweep in another process may take the folder in the moment before its lock is held.
        for _ in 0..100 {
            let folder = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(&parent);
            let folder = folder.expect("make a scratch folder");
            let Ok(in_use) = File::create(folder.path().join(IN_USE)) else { continue };
            if in_use.try_lock().is_ok() && folder.path().join(IN_USE).exists() {
                return Self { folder, _in_use: in_use };
            }
        }
        panic!("cannot keep a scratch folder in {}", parent.display());
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders whose users are gone.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let Ok(lock) = File::open(entry.path().join(IN_USE)) else { continue };
        if lock.try_lock().is_ok() {
            // Another sweep may be at it as well; what one of them leaves, the next one takes.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Cargo's target folder, as this program was built into it.
pub fn target_dir() -> PathBuf {
    let above = |exe: PathBuf| {
        exe.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists()).map(Path::to_path_buf)
    };
    std::env::current_exe()
        .ok()
        .and_then(above)
        .or_else(|| std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from))
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"))
}

/// What belongs to this crate below the target folder.
pub(crate) fn testbed_dir() -> PathBuf {
    target_dir().join("testbed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_what_the_dead_left_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let [dead, living, foreign] = ["dead", "living", "foreign"].map(|name| parent.path().join(name));
        for folder in [&dead, &living, &foreign] {
            fs::create_dir(folder).unwrap();
        }
        drop(File::create(dead.join(IN_USE)).unwrap());
        let lock = File::create(living.join(IN_USE)).unwrap();
        lock.lock().unwrap();
        sweep(parent.path());
        assert_eq!([dead.exists(), living.exists(), foreign.exists()], [false, true, true]);
    }
}
