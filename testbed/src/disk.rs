//! Small disks: one that can be filled, and one whose power can be cut.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scratch::Scratch;

/// A mounted file system. Needs root.
struct Mount {
    folder: PathBuf,
    _scratch: Scratch,
}

impl Mount {
    /// Mounts a file system on a folder in `scratch`, with these arguments of `mount`.
    #[track_caller]
    fn new(scratch: Scratch, arguments: &[&str]) -> Self {
        let folder = scratch.path().join("disk");
        fs::create_dir(&folder).expect("make a folder to mount on");
        let mounted = Command::new("mount").args(arguments).arg(&folder).status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "disks are mounted by root, on Linux with loop devices: run this test as root"
        );
        Self { folder, _scratch: scratch }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Processes with an open file on it keep that file; the folder is free.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}

/// A separate file system in memory that is full after a given number of bytes. Needs root.
pub struct SmallDisk(Mount);

impl SmallDisk {
    #[track_caller]
    pub fn mount(bytes: u64) -> Self {
        Self(Mount::new(Scratch::new("disk"), &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]))
    }

    pub fn path(&self) -> &Path {
        &self.0.folder
    }

    /// Fills the rest of the file system with a file; removing that file makes room again.
    #[track_caller]
    pub fn fill(&self) -> PathBuf {
        use std::io::Write;
        let path = self.path().join("filling");
        let mut file = fs::File::create(&path).expect("make a file on the small disk");
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

/// Makes a disk image with an empty ext4 file system.
#[track_caller]
pub fn make_ext4(image: &Path, bytes: u64) {
    let file = fs::File::create(image).expect("make the image of a disk");
    file.set_len(bytes).expect("make the image of a disk");
    let no_later_writes = "lazy_itable_init=0,lazy_journal_init=0";
    let made = Command::new("mkfs.ext4").args(["-q", "-F", "-E", no_later_writes]).arg(image).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfs.ext4 makes a file system");
}

/// A disk image with ext4, whose power can be cut. Needs root.
pub struct CuttableDisk {
    mount: Mount,
    image: PathBuf,
}

impl CuttableDisk {
    /// Makes and mounts an empty file system.
    #[track_caller]
    pub fn mount(bytes: u64) -> Self {
        Self::with_image(|image| make_ext4(image, bytes))
    }

    /// Mounts the image that `make` writes.
    #[track_caller]
    fn with_image(make: impl FnOnce(&Path)) -> Self {
        let scratch = Scratch::new("disk");
        let image = scratch.path().join("image");
        make(&image);
        Self { mount: Mount::new(scratch, &["-o", "loop", &image.display().to_string()]), image }
    }

    pub fn path(&self) -> &Path {
        &self.mount.folder
    }

    /// Returns a disk with the content that this one would have after a power cut at this moment: without the data that
    /// the system has in memory and has not written yet. This disk continues.
    #[track_caller]
    pub fn cut(&self) -> CuttableDisk {
        let read = || fs::read(&self.image).expect("read the image of a disk");
        // Two equal copies: there was no write during the first one, so it has the content of one moment.
        let mut content = read();
        loop {
            let again = read();
            if again == content {
                break;
            }
            content = again;
        }
        Self::with_image(|image| fs::write(image, content).expect("copy the image of a disk"))
    }
}
