//! ZooKeeper's transaction log, as a server writes it: all committed transactions, in order. It shows the effects of a
//! fleet without data that the fleet reports about itself.
//!
//! The format is that of `FileTxnLog` (Apache ZooKeeper 3.4 to 3.9): a header, then for each transaction an Adler-32
//! checksum, its length, its Jute record and an end mark; zeros after the last one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    /// Transaction id: the epoch of ZooKeeper's leader in the upper 32 bits, a counter in the lower ones.
    pub zxid: i64,
    pub session: i64,
    /// Time at which ZooKeeper's leader received it, in milliseconds since 1970.
    pub time: i64,
    /// Changes; none if it failed, and several for a `multi`.
    pub changes: Vec<Change>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Create {
        path: String,
        data: Vec<u8>,
        /// True if the znode is deleted with its session.
        ephemeral: bool,
    },
    Set {
        path: String,
        data: Vec<u8>,
    },
    Delete {
        path: String,
    },
    /// Part of a `multi` that fails unless the znode exists, at a version if one is given.
    Check {
        path: String,
    },
    Opened,
    /// A session ended, and all of its ephemeral znodes with it.
    Closed,
}

impl Change {
    pub(crate) fn path_mut(&mut self) -> Option<&mut String> {
        match self {
            Change::Create { path, .. }
            | Change::Set { path, .. }
            | Change::Delete { path }
            | Change::Check { path } => Some(path),
            Change::Opened | Change::Closed => None,
        }
    }
}

/// Returns the transactions from `zxid` on in the log in `folder` (`version-2` below a server's `dataDir`). A server
/// may be writing it: incomplete transactions are left out.
pub(crate) fn read(folder: &Path, zxid: i64) -> io::Result<Vec<Transaction>> {
    let mut files: Vec<(i64, PathBuf)> = fs::read_dir(folder)?
        .flatten()
        .filter_map(|entry| {
            let first = entry.file_name().to_str()?.strip_prefix("log.").map(str::to_owned)?;
            Some((i64::from_str_radix(&first, 16).ok()?, entry.path()))
        })
        .collect();
    files.sort();
    // A file is named after the first transaction that it may contain.
    let begin = files.iter().rposition(|(first, _)| *first <= zxid).unwrap_or(0);
    let mut transactions: Vec<Transaction> = Vec::new();
    for (_, path) in &files[begin..] {
        let bytes = fs::read(path)?;
        for transaction in parse(&bytes, zxid).map_err(|what| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()))
        })? {
            // After a restart the last ones may be in two files.
            if transaction.zxid >= zxid && transactions.last().is_none_or(|last| last.zxid < transaction.zxid)
            {
                transactions.push(transaction);
            }
        }
    }
    Ok(transactions)
}

const MAGIC: &[u8] = b"ZKLG";
const HEADER: usize = 16;
const END: u8 = b'B';

/// Returns the complete transactions of one file, from `zxid` on.
fn parse(bytes: &[u8], zxid: i64) -> Result<Vec<Transaction>, String> {
    // A file that has just been created.
    if bytes.len() < HEADER || bytes[..4] == [0; 4] {
        return Ok(Vec::new());
    }
    if &bytes[..4] != MAGIC {
        return Err("not a transaction log of ZooKeeper".into());
    }
    let mut jute = Jute(&bytes[HEADER..]);
    let mut transactions = Vec::new();
    while let Some((sum, record)) = jute.long().zip(jute.buffer()) {
        // Most transactions are older than `zxid`, so they are skipped without parsing.
        let number = record.get(12..20).and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes);
        if number.is_some_and(|number| number < zxid) && jute.bytes(1) == Some(&[END]) {
            continue;
        }
        // Zeros after the last one, or one that is being written.
        if record.is_empty()
            || jute.bytes(1) != Some(&[END])
            || i64::from(adler2::adler32_slice(record)) != sum
        {
            break;
        }
        transactions.push(transaction(record).ok_or("a transaction that is not understood")?);
    }
    Ok(transactions)
}

// Types of changes, as numbered by `ZooDefs.OpCode`.
const CREATE: i32 = 1;
const DELETE: i32 = 2;
const SET_DATA: i32 = 5;
const SET_ACL: i32 = 7;
const CHECK: i32 = 13;
const MULTI: i32 = 14;
const CREATE_2: i32 = 15;
const RECONFIG: i32 = 16;
const CREATE_CONTAINER: i32 = 19;
const DELETE_CONTAINER: i32 = 20;
const CREATE_TTL: i32 = 21;
const ERROR: i32 = -1;
const OPEN: i32 = -10;
const CLOSE: i32 = -11;

fn transaction(record: &[u8]) -> Option<Transaction> {
    let mut jute = Jute(record);
    let session = jute.long()?;
    let _cxid = jute.int()?;
    let (zxid, time, kind) = (jute.long()?, jute.long()?, jute.int()?);
    let changes = match kind {
        MULTI => multi(&mut jute)?,
        _ => change(kind, &mut jute)?.into_iter().collect(),
    };
    Some(Transaction { zxid, session, time, changes })
}

/// Parses the parts of a multi. A failed multi did nothing, and contains an error for each part.
fn multi(jute: &mut Jute<'_>) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    for _ in 0..jute.int()? {
        let (kind, record) = (jute.int()?, jute.buffer()?);
        if kind == ERROR {
            return Some(Vec::new());
        }
        changes.extend(change(kind, &mut Jute(record))?);
    }
    Some(changes)
}

/// Parses a change. Returns `None` if it is not understood, `Some(None)` if it has no visible effect.
fn change(kind: i32, jute: &mut Jute<'_>) -> Option<Option<Change>> {
    Some(match kind {
        CREATE | CREATE_2 => {
            let (path, data) = (jute.text()?, jute.buffer()?.to_vec());
            jute.acl()?;
            Some(Change::Create { path, data, ephemeral: jute.bytes(1)? == [1] })
        }
        CREATE_CONTAINER | CREATE_TTL => {
            Some(Change::Create { path: jute.text()?, data: jute.buffer()?.to_vec(), ephemeral: false })
        }
        SET_DATA => Some(Change::Set { path: jute.text()?, data: jute.buffer()?.to_vec() }),
        DELETE | DELETE_CONTAINER => Some(Change::Delete { path: jute.text()? }),
        CHECK => Some(Change::Check { path: jute.text()? }),
        OPEN => Some(Change::Opened),
        CLOSE => Some(Change::Closed),
        ERROR | SET_ACL | RECONFIG => None,
        _ => return None,
    })
}

/// Reader of Jute, the record format of ZooKeeper's log and protocol: big endian, with length prefixes.
pub(crate) struct Jute<'a>(pub(crate) &'a [u8]);

impl<'a> Jute<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn int(&mut self) -> Option<i32> {
        self.bytes(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    fn long(&mut self) -> Option<i64> {
        self.bytes(8)?.try_into().ok().map(i64::from_be_bytes)
    }

    /// A length of -1 means no buffer, which is treated as an empty one.
    pub(crate) fn buffer(&mut self) -> Option<&'a [u8]> {
        let length = self.int()?;
        if length == -1 { Some(&[]) } else { self.bytes(length.try_into().ok()?) }
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        self.buffer().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// Skips an ACL, whose entries have permissions, a scheme and an id.
    pub(crate) fn acl(&mut self) -> Option<()> {
        (0..self.int()?).try_for_each(|_| self.int().zip(self.text()).zip(self.text()).map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(bytes: &[u8]) -> Vec<u8> {
        let mut buffer = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
        buffer.extend(bytes);
        buffer
    }

    fn entry(zxid: i64, kind: i32, body: &[u8]) -> Vec<u8> {
        let mut record = 7_i64.to_be_bytes().to_vec();
        record.extend(3_i32.to_be_bytes());
        record.extend(zxid.to_be_bytes());
        record.extend(1_000_i64.to_be_bytes());
        record.extend(kind.to_be_bytes());
        record.extend(body);
        let mut entry = i64::from(adler2::adler32_slice(&record)).to_be_bytes().to_vec();
        entry.extend(buffer(&record));
        entry.push(END);
        entry
    }

    fn file(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend([0; HEADER - 4]);
        file.extend(entries.concat());
        file
    }

    #[test]
    fn a_transaction_that_is_being_written_is_left_out() {
        let whole = entry(1, DELETE, &buffer(b"/a"));
        let mut bytes = file(&[whole.clone(), whole]);
        assert_eq!(parse(&bytes, 0).unwrap().len(), 2);
        bytes.truncate(bytes.len() - 1);
        assert_eq!(parse(&bytes, 0).unwrap().len(), 1);
        bytes.extend([0; 1_000]);
        assert_eq!(parse(&bytes, 0).unwrap().len(), 1);
        assert_eq!(parse(&[0; 64], 0), Ok(vec![]));
        assert!(parse(b"#!/bin/sh echo no log", 0).is_err());
    }

    #[test]
    fn a_multi_is_all_or_nothing() {
        let part = |kind: i32, body: &[u8]| [kind.to_be_bytes().to_vec(), buffer(body)].concat();
        let delete = part(DELETE, &buffer(b"/a"));
        let failed = part(ERROR, &(-101_i32).to_be_bytes());
        let two = 2_i32.to_be_bytes().to_vec();
        let bytes = file(&[
            entry(1, MULTI, &[two.clone(), delete.clone(), delete.clone()].concat()),
            entry(2, MULTI, &[two, failed, delete].concat()),
        ]);
        let deleted = Change::Delete { path: "/a".into() };
        let [done, not_done] = &parse(&bytes, 0).unwrap()[..] else { panic!("two transactions") };
        assert_eq!((done.session, done.zxid, done.time), (7, 1, 1_000));
        assert_eq!(done.changes, [deleted.clone(), deleted]);
        assert_eq!(not_done.changes, []);
    }

    #[test]
    fn files_follow_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let delete = |zxid| entry(zxid, DELETE, &buffer(b"/a"));
        fs::write(folder.path().join("log.1"), file(&[delete(1), delete(2)])).unwrap();
        fs::write(folder.path().join("log.a"), file(&[delete(10), delete(11)])).unwrap();
        fs::write(folder.path().join("snapshot.2"), "not a log").unwrap();
        let zxids = |from| -> Vec<i64> {
            read(folder.path(), from).unwrap().iter().map(|transaction| transaction.zxid).collect()
        };
        assert_eq!(zxids(0), [1, 2, 10, 11]);
        assert_eq!(zxids(2), [2, 10, 11]);
        assert_eq!(zxids(11), [11]);
    }
}
