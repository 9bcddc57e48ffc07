//! Znodes and leader after some transactions. Pure.

use std::collections::BTreeMap;

use crate::journal::{Change, Transaction};

/// The znodes below a chroot, with the session of each ephemeral one.
#[derive(Debug, Default)]
pub(super) struct Replay(BTreeMap<String, Option<i64>>);

impl Replay {
    pub(super) fn apply(&mut self, transaction: &Transaction) {
        for change in &transaction.changes {
            match change {
                Change::Create { path, ephemeral, .. } => {
                    self.0.insert(path.clone(), ephemeral.then_some(transaction.session));
                }
                Change::Delete { path } => {
                    self.0.remove(path);
                }
                Change::Closed => self.0.retain(|_, owner| *owner != Some(transaction.session)),
                _ => {}
            }
        }
    }

    /// Returns the session of the first contender below `parent`, by the number at the end of its name.
    pub(super) fn leader(&self, parent: &str) -> Option<i64> {
        let contenders = self.0.iter().filter_map(|(path, owner)| {
            let name = path.strip_prefix(parent)?.strip_prefix('/')?;
            let digits = name.get(name.len().checked_sub(10)?..)?;
            let is_contender = !name.contains('/') && digits.bytes().all(|byte| byte.is_ascii_digit());
            Some((digits.to_owned(), (*owner)?)).filter(|_| is_contender)
        });
        contenders.min().map(|(_, owner)| owner)
    }

    /// Returns the session of an ephemeral znode.
    pub(super) fn owner(&self, path: &str) -> Option<i64> {
        self.0.get(path).copied().flatten()
    }

    /// Returns the paths with `depth` names below `parent`.
    pub(super) fn below<'a>(
        &'a self,
        parent: &'a str,
        depth: usize,
    ) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.keys().filter_map(move |path| {
            let rest = path.strip_prefix(parent)?.strip_prefix('/')?;
            (rest.split('/').count() == depth).then_some(path.as_str())
        })
    }

    /// Returns true if an ephemeral znode is left.
    pub(super) fn has_ephemeral(&self) -> bool {
        self.0.values().any(Option::is_some)
    }
}
