//! The lock on what is remembered of a node: an advisory lock of the operating system on a file that is never replaced. It
//! dies with the process that holds it, however that ends; so whoever gets it knows that the process is dead. A process
//! that is stopped, or hangs, keeps it.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use crate::process::state_dir::files::{self, Access};

/// What a lock is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be the node.
    Run,
    /// To clear up after it: for moments.
    Reap,
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process; `None`: it has not said so, or not yet.
    pub process: Option<u32>,
    /// What for.
    pub purpose: Purpose,
}

/// A lock, held until this is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Makes the lock's file if there is none, and whether there was none. Then whoever might have held it cannot be known
    /// to be dead.
    ///
    /// # Errors
    /// There can be no such file.
    pub fn make(path: &Path) -> io::Result<bool> {
        match files::create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            made => made.map(|_| true),
        }
    }

    /// Takes the lock, unless another process has it.
    ///
    /// # Errors
    /// There is no such file, or this system has no locks.
    pub fn take(path: &Path, purpose: Purpose) -> io::Result<Result<Lock, Holder>> {
        let mut file = files::open(path, Access::ReadWrite)?;
        match file.try_lock() {
            Ok(()) => {
                // For those who find it held. Without it they know less, and that is all.
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

/// What the holder says; on systems whose locks keep readers out, nothing.
fn read(file: &mut File) -> Holder {
    let mut text = String::new();
    let _ = file.take(100).read_to_string(&mut text);
    Holder::parse(&text)
}

impl Holder {
    fn text(self) -> String {
        let purpose = match self.purpose {
            Purpose::Run => "run",
            Purpose::Reap => "reap",
        };
        format!("{} {purpose}\n", self.process.unwrap_or_default())
    }

    fn parse(text: &str) -> Holder {
        let mut words = text.split_whitespace();
        let process = words.next().and_then(|word| word.parse().ok());
        let purpose = if words.next() == Some("reap") { Purpose::Reap } else { Purpose::Run };
        Holder { process, purpose }
    }
}

#[cfg(test)]
mod tests {
    use atalaya_testbed::Scratch;

    use super::*;

    #[test]
    fn one_has_it_and_says_who_and_it_ends_with_the_holder() {
        let scratch = Scratch::new("lock");
        let path = scratch.path().join("node.lock");
        std::fs::write(&path, "1234567890 run, and more than that\n").unwrap();
        let lock = Lock::take(&path, Purpose::Reap).unwrap().unwrap();
        let holder = Lock::take(&path, Purpose::Run).unwrap().unwrap_err();
        assert_eq!(holder, Holder { process: Some(std::process::id()), purpose: Purpose::Reap });
        drop(lock);
        let _lock = Lock::take(&path, Purpose::Run).unwrap().unwrap();
        let holder = Lock::take(&path, Purpose::Run).unwrap().unwrap_err();
        assert_eq!(holder.purpose, Purpose::Run);
        assert!(!Lock::make(&path).unwrap());
        let other = scratch.path().join("other.lock");
        assert!(Lock::take(&other, Purpose::Run).is_err());
        assert!(Lock::make(&other).unwrap());
        Lock::take(&other, Purpose::Run).unwrap().unwrap();
        assert!(Lock::make(&scratch.path().join("no/such/folder")).is_err());
    }

    #[test]
    fn a_holder_that_says_nothing_is_a_node_for_all_that_is_known() {
        for text in ["", "x", "\0\0\0"] {
            assert_eq!(Holder::parse(text), Holder { process: None, purpose: Purpose::Run }, "{text:?}");
        }
        let holder = Holder { process: Some(4), purpose: Purpose::Reap };
        assert_eq!(Holder::parse(&holder.text()), holder);
    }
}
