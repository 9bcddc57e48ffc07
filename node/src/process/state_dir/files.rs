//! The files of the state folder. Another user may own the folder (`atalaya reap` as root), or write into it: no
//! symbolic link is followed, only a regular file with one name is opened, and its owner must be this user or the
//! folder's.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) enum Access {
    Read,
    ReadWrite,
}

/// Creates a file that only its owner can read. It belongs to the owner of the folder, who needs it later.
///
/// # Errors
/// Something has that name (`AlreadyExists`), a symbolic link that leads nowhere, too; or there can be no such file.
pub(in crate::process) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    give_to_owner_of_folder(&file, path)?;
    Ok(file)
}

/// Opens a file that [`create`] made.
///
/// # Errors
/// There is none; it is not a regular file with one name, or belongs to another user (`InvalidData`).
pub(in crate::process) fn open(path: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(access == Access::ReadWrite);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        // Without O_NONBLOCK, opening a pipe would wait for its other end.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
    }
    #[cfg(unix)]
    let file = options.open(path).map_err(|error| match error.raw_os_error() {
        Some(number) if number == rustix::io::Errno::LOOP.raw_os_error() => refused("it is a symbolic link"),
        _ => error,
    })?;
    #[cfg(not(unix))]
    let file = options.open(path)?;
    check(&file, path)?;
    Ok(file)
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}, and not a file of a node"))
}

fn check(file: &File, path: &Path) -> io::Result<()> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(refused("it is not a regular file"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        if metadata.nlink() > 1 {
            return Err(refused("it has several names"));
        }
        let owner = metadata.uid();
        if owner != rustix::process::geteuid().as_raw() && owner != folder_of(path)?.uid() {
            return Err(refused(&format!("it belongs to user {owner}")));
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(unix)]
fn folder_of(path: &Path) -> io::Result<std::fs::Metadata> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::metadata(folder.unwrap_or(Path::new(".")))
}

#[cfg(unix)]
fn give_to_owner_of_folder(file: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    use rustix::fs::{Gid, Uid, fchown};

    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let folder = folder_of(path)?;
    if folder.uid() == 0 {
        return Ok(());
    }
    Ok(fchown(file, Some(Uid::from_raw(folder.uid())), Some(Gid::from_raw(folder.gid())))?)
}
