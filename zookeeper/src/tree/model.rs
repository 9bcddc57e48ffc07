//! A naive tree to compare the real one with: paths in a sorted map, everything else computed on demand.

use std::collections::BTreeMap;

use crate::error::Code;
use crate::path;
use crate::protocol::{Create, CreateKind, Stat, Write};

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    znodes: BTreeMap<String, Znode>,
}

#[derive(Clone, Debug)]
struct Znode {
    data: Vec<u8>,
    stat: Stat,
    /// Number of children ever created.
    created: i32,
}

impl Model {
    pub(super) fn new() -> Self {
        let znode = Znode { data: Vec::new(), stat: Stat::default(), created: 0 };
        Self { znodes: [("/".to_owned(), znode)].into() }
    }

    pub(super) fn children(&self, path: &str) -> Vec<&str> {
        let is_child = |other: &&String| *other != "/" && path::parent(other) == Some(path);
        self.znodes.keys().filter(is_child).map(|child| path::name(child)).collect()
    }

    /// Returns paths, data and the fields of a `Stat`.
    pub(super) fn all(&self) -> Vec<(String, Vec<u8>, Stat)> {
        let all = self.znodes.iter().map(|(path, znode)| {
            let children = i32::try_from(self.children(path).len()).unwrap();
            let data_length = i32::try_from(znode.data.len()).unwrap();
            let cversion = znode.created + znode.created - children;
            (
                path.clone(),
                znode.data.clone(),
                Stat { num_children: children, data_length, cversion, ..znode.stat },
            )
        });
        all.collect()
    }

    /// Applies one write; returns the path of a created znode.
    pub(super) fn write(&mut self, write: &Write, session: i64, zxid: i64) -> Result<Option<String>, Code> {
        match write {
            Write::Create(create) => self.create(create, session, zxid).map(Some),
            Write::Delete { path, version } => {
                let znode = self.znodes.get(path).ok_or(Code::NoNode)?;
                check_version(*version, znode.stat.version)?;
                if !self.children(path).is_empty() {
                    return Err(Code::NotEmpty);
                }
                self.delete(path, zxid);
                Ok(None)
            }
            Write::SetData { path, data, version } => {
                let znode = self.znodes.get_mut(path).ok_or(Code::NoNode)?;
                check_version(*version, znode.stat.version)?;
                znode.data = data.as_deref().unwrap_or_default().to_vec();
                znode.stat.version += 1;
                (znode.stat.mzxid, znode.stat.mtime) = (zxid, zxid * 10);
                Ok(None)
            }
            Write::Check { path, version } => {
                check_version(*version, self.znodes.get(path).ok_or(Code::NoNode)?.stat.version)?;
                Ok(None)
            }
            Write::SetAcl { .. } => unreachable!("not generated"),
        }
    }

    pub(super) fn multi(&mut self, writes: &[Write], session: i64, zxid: i64) -> Result<(), (usize, Code)> {
        let before = self.clone();
        for (at, write) in writes.iter().enumerate() {
            if let Err(code) = self.write(write, session, zxid) {
                *self = before;
                return Err((at, code));
            }
        }
        Ok(())
    }

    pub(super) fn end_session(&mut self, session: i64, zxid: i64) {
        let is_owned =
            |(path, znode): (&String, &Znode)| (znode.stat.ephemeral_owner == session).then(|| path.clone());
        for path in self.znodes.iter().filter_map(is_owned).collect::<Vec<_>>() {
            self.delete(&path, zxid);
        }
    }

    fn delete(&mut self, path: &str, zxid: i64) {
        self.znodes.remove(path);
        self.znodes.get_mut(path::parent(path).unwrap()).unwrap().stat.pzxid = zxid;
    }

    fn create(&mut self, create: &Create, session: i64, zxid: i64) -> Result<String, Code> {
        let requested = create.path.as_deref().unwrap();
        let parent = self.znodes.get(path::parent(requested).unwrap()).ok_or(Code::NoNode)?;
        let path = match create.flags {
            2 | 3 | 6 => format!("{requested}{:010}", parent.created),
            _ => requested.to_owned(),
        };
        if self.znodes.contains_key(&path) {
            return Err(Code::NodeExists);
        }
        if parent.stat.ephemeral_owner > 0 {
            return Err(Code::NoChildrenForEphemerals);
        }
        let owner = match (create.kind, create.flags) {
            (CreateKind::Plain | CreateKind::WithStat, 1 | 3) => session,
            _ => 0,
        };
        let parent = self.znodes.get_mut(path::parent(&path).unwrap()).unwrap();
        parent.created += 1;
        parent.stat.pzxid = zxid;
        let (ctime, mtime) = (zxid * 10, zxid * 10);
        let stat = Stat { czxid: zxid, mzxid: zxid, pzxid: zxid, ctime, mtime, ..Stat::default() };
        let stat = Stat { ephemeral_owner: owner, ..stat };
        let data = create.data.as_deref().unwrap_or_default().to_vec();
        self.znodes.insert(path.clone(), Znode { data, stat, created: 0 });
        Ok(path)
    }
}

fn check_version(expected: i32, version: i32) -> Result<(), Code> {
    if expected == -1 || expected == version { Ok(()) } else { Err(Code::BadVersion) }
}
