//! A disk so small that it can be filled.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scratch::Scratch;

/// A file system of its own, in memory, that is full after so many bytes. Needs root.
pub struct SmallDisk {
    folder: PathBuf,
    _scratch: Scratch,
}

impl SmallDisk {
    /// Mounts one.
    ///
    /// # Panics
    ///
    /// When this machine does not allow it.
    #[track_caller]
    pub fn mount(bytes: u64) -> Self {
        let scratch = Scratch::new("disk");
        let folder = scratch.path().join("disk");
        fs::create_dir(&folder).expect("make a folder to mount on");
        let size = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder).status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "a disk that can be filled is mounted by root, on Linux: run this test as root"
        );
        Self { folder, _scratch: scratch }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Fills what is left of it with a file; removing that file makes room again.
    ///
    /// # Panics
    ///
    /// When it cannot be written at all.
    #[track_caller]
    pub fn fill(&self) -> PathBuf {
        use std::io::Write;
        let path = self.folder.join("filling");
        let mut file = fs::File::create(&path).expect("make a file on the small disk");
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still has a file open on it keeps what it has; the folder is free.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}
