//! Safe access to the files of the state directory. Another user may own the directory (`atalaya reap` as root) or
//! write into it. Therefore symbolic links are not followed, only regular files without further hard links are
//! opened, and their owner must be this user or the owner of the directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Creates a file that only its owner can read. If this process runs as root, the owner of the directory becomes
/// the owner of the file, because it needs the file later.
///
/// # Errors
/// The path exists (`AlreadyExists`), even if it is a dangling symbolic link; or the file cannot be created.
pub(in crate::process) fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    chown_to_owner_of_dir(&file, path)?;
    Ok(file)
}

/// Opens a file that [`create`] has created.
///
/// # Errors
/// The file does not exist, is not a regular file with exactly one hard link, or belongs to another user
/// (`InvalidData`).
pub(in crate::process) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        // Without O_NONBLOCK, opening a named pipe would block until its other end is opened.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        std::os::unix::fs::OpenOptionsExt::custom_flags(options, flags.bits().cast_signed());
    }
    #[cfg(unix)]
    let file = options.open(path).map_err(|error| match error.raw_os_error() {
        Some(number) if number == rustix::io::Errno::LOOP.raw_os_error() => invalid("it is a symbolic link"),
        _ => error,
    })?;
    #[cfg(not(unix))]
    let file = options.open(path)?;
    check(&file, path)?;
    Ok(file)
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{problem}, so it is not a state file"))
}

fn check(file: &File, path: &Path) -> io::Result<()> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(invalid("it is not a regular file"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        if metadata.nlink() > 1 {
            return Err(invalid("it has several hard links"));
        }
        let owner = metadata.uid();
        if owner != rustix::process::geteuid().as_raw() && owner != dir_of(path)?.uid() {
            return Err(invalid(&format!("it belongs to user {owner}")));
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(unix)]
fn dir_of(path: &Path) -> io::Result<std::fs::Metadata> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    std::fs::metadata(dir.unwrap_or(Path::new(".")))
}

#[cfg(unix)]
fn chown_to_owner_of_dir(file: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    use rustix::fs::{Gid, Uid, fchown};

    let dir = dir_of(path)?;
    if !rustix::process::geteuid().is_root() || dir.uid() == 0 {
        return Ok(());
    }
    Ok(fchown(file, Some(Uid::from_raw(dir.uid())), Some(Gid::from_raw(dir.gid())))?)
}
