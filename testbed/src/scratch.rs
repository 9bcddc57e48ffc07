//! Folders for servers and nodes, below the target folder, that do not accumulate.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Once;

use tempfile::TempDir;

/// Lock file in each scratch folder: it is locked while a process uses the folder.
const IN_USE: &str = ".in-use";

/// A folder that is removed when dropped. A folder that a killed process has left is removed by the next process that
/// creates one.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
    /// The lock ends with the process, even if it is killed.
    _in_use: File,
}

impl Scratch {
    #[track_caller]
    pub fn new(name: &str) -> Self {
        static SWEEP: Once = Once::new();
        let parent = testbed_dir().join("scratch");
        fs::create_dir_all(&parent).expect("make the scratch folder below the target folder");
        SWEEP.call_once(|| sweep(&parent));
        // A sweep in another process may remove the folder in the moment before its lock is held.
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

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, and returns its path.
    #[track_caller]
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.path().join(name);
        fs::write(&file, content).expect("write a file in a scratch folder");
        file
    }
}

fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let Ok(lock) = File::open(entry.path().join(IN_USE)) else { continue };
        if lock.try_lock().is_ok() {
            // Another sweep may run at the same time. What both leave is removed by the next one.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Returns Cargo's target folder into which this program was built.
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

/// Returns the folder of this crate below the target folder.
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
