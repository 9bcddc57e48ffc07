//! The lock of a node: an advisory lock of the operating system on a file that is never replaced. It is released when
//! the process that holds it ends, for any reason, so a process that acquires it knows that the previous holder is
//! dead. A process that is stopped, or hangs, keeps it.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use crate::process::state_dir::files;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Run,
    /// Delete the znodes of a dead process of the node; takes a moment.
    CleanUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Process id; `None` if the holder has not written it, or not yet.
    pub(crate) process: Option<u32>,
    pub(crate) purpose: Purpose,
}

/// A lock, released when dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Creates the lock file if missing. Returns true if it did: the holder of a deleted file may still be alive.
    pub(crate) fn create(path: &Path) -> io::Result<bool> {
        match files::create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            created => created.map(|_| true),
        }
    }

    /// Acquires the lock unless another process holds it.
    ///
    /// # Errors
    /// The file does not exist, or this system does not support locks.
    pub(crate) fn try_acquire(path: &Path, purpose: Purpose) -> io::Result<Result<Lock, Holder>> {
        let mut file = files::open(path, File::options().read(true).write(true))?;
        match file.try_lock() {
            Ok(()) => {
                // Only informative, so an error does not matter.
                let _ = write(&mut file, Holder { process: Some(std::process::id()), purpose });
                Ok(Ok(Lock { _file: file }))
            }
            Err(TryLockError::WouldBlock) => Ok(Err(read(&mut file))),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn write(file: &mut File, holder: Holder) -> io::Result<()> {
    let text = holder.text();
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

/// Reads the holder from the file. On systems whose locks are mandatory, the result is empty.
fn read(file: &mut File) -> Holder {
    let mut text = String::new();
    let _ = file.take(100).read_to_string(&mut text);
    Holder::parse(&text)
}

impl Holder {
    fn text(self) -> String {
        let purpose = match self.purpose {
            Purpose::Run => "run",
            Purpose::CleanUp => "reap",
        };
        format!("{} {purpose}\n", self.process.unwrap_or_default())
    }

    fn parse(text: &str) -> Holder {
        let mut words = text.split_whitespace();
        let process = words.next().and_then(|word| word.parse().ok());
        let purpose = if words.next() == Some("reap") { Purpose::CleanUp } else { Purpose::Run };
        Holder { process, purpose }
    }
}

#[cfg(test)]
mod tests {
    use atalaya_testbed::Scratch;

    use super::*;

    #[test]
    fn lock_has_one_holder_at_a_time_and_names_it() {
        let scratch = Scratch::new("lock");
        let path = scratch.write("node.lock", "1234567890 run, and more than that\n");
        let lock = Lock::try_acquire(&path, Purpose::CleanUp).unwrap().unwrap();
        let holder = Lock::try_acquire(&path, Purpose::Run).unwrap().unwrap_err();
        assert_eq!(holder, Holder { process: Some(std::process::id()), purpose: Purpose::CleanUp });
        drop(lock);
        let _lock = Lock::try_acquire(&path, Purpose::Run).unwrap().unwrap();
        let holder = Lock::try_acquire(&path, Purpose::Run).unwrap().unwrap_err();
        assert_eq!(holder.purpose, Purpose::Run);
    }

    #[test]
    fn lock_file_is_created_once_and_must_exist() {
        let scratch = Scratch::new("lock");
        let path = scratch.path().join("node.lock");
        assert!(Lock::try_acquire(&path, Purpose::Run).is_err());
        assert!(Lock::create(&path).unwrap());
        assert!(!Lock::create(&path).unwrap());
        Lock::try_acquire(&path, Purpose::Run).unwrap().unwrap();
        assert!(Lock::create(&scratch.path().join("no/such/directory")).is_err());
    }

    #[test]
    fn holder_without_information_counts_as_a_running_node() {
        for text in ["", "x", "\0\0\0"] {
            assert_eq!(Holder::parse(text), Holder { process: None, purpose: Purpose::Run }, "{text:?}");
        }
        let holder = Holder { process: Some(4), purpose: Purpose::CleanUp };
        assert_eq!(Holder::parse(&holder.text()), holder);
    }
}
