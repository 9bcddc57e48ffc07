//! Reads a small regular file with a maximum size, without blocking on a pipe. For sysfs, for `chip = "file"` and for
//! other files that a user names.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

/// Returns the bytes of the regular file at `path`, if there are at most `max`.
///
/// # Errors
/// The error of the system; `InvalidInput` if `path` is not a regular file; `FileTooLarge` if the file is larger.
pub fn read_limited(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    // Checked before opening, because opening a device can have side effects (rewind a tape, reset a board), and again
    // after opening, because the path may refer to another file by then.
    regular(&std::fs::metadata(path)?)?;
    let file = open(path)?;
    regular(&file.metadata()?)?;
    // With enough capacity, sysfs is read with one call: by default std reads 32 bytes first.
    let mut bytes = Vec::with_capacity(max.min(4096) + 1);
    file.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {max} bytes")));
    }
    Ok(bytes)
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Without NONBLOCK, a pipe that replaced the file would block the thread until a process writes into it.
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        if let Ok(flags) = i32::try_from(flags.bits()) {
            options.custom_flags(flags);
        }
    }
    options.open(path)
}

fn regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let what = if metadata.is_dir() { "a folder" } else { "a device, a pipe or a socket" };
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{what}, and only a regular file (in /proc and /sys too) is read"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_the_bound_and_not_beyond() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        for (length, good) in [(0, true), (1, true), (99, true), (100, true), (101, false), (100_000, false)]
        {
            std::fs::write(&path, vec![b'1'; length]).unwrap();
            match read_limited(&path, 100) {
                Ok(bytes) => assert!(good && bytes.len() == length, "{length}"),
                Err(error) => assert!(!good && error.kind() == io::ErrorKind::FileTooLarge, "{length}"),
            }
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read_limited(&path, 100).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_no_file_is_refused_and_a_pipe_does_not_hold_the_reader() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_limited(folder.path(), 100).unwrap_err();
        assert!(error.to_string().starts_with("a folder"), "{error}");
        #[cfg(unix)]
        {
            let pipe = folder.path().join("pipe");
            let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
            assert!(made.success());
            for path in [pipe.as_path(), Path::new("/dev/zero")] {
                let error = read_limited(path, 100).unwrap_err();
                assert!(error.to_string().starts_with("a device, a pipe"), "{error}");
            }
            // Opening does not block even if the pipe replaced the file between the check and the open.
            assert!(open(&pipe).is_ok());
        }
    }
}
