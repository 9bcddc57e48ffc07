//! A small disk that can be filled.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scratch::Scratch;

/// A separate file system in memory that is full after a given number of bytes. Needs root.
pub struct SmallDisk {
    folder: PathBuf,
    _scratch: Scratch,
}

impl SmallDisk {
    /// Mounts the file system.
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

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Fills the rest of the file system with a file; removing that file makes room again.
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
        // Processes with an open file on it keep that file; the folder is free.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}
