//! Requests that change nothing, except that they may set a watch. Part of [`StateMachine`].

use bytes::BytesMut;

use super::{Peer, StateMachine};
use crate::error::Code;
use crate::jute::Write as _;
use crate::protocol::{Item, Operation, Read, Request, multi, reply};
use crate::sessions::ConnectionId;
use crate::tree::Node;
use crate::watches::WatchSet;

/// Maximum reply to a `MultiRead`, above which it is refused: a short request may read a long znode thousands of times.
const MAX_REPLY: usize = 256 << 20;

impl StateMachine {
    /// Answers a read.
    pub(super) fn read(&mut self, connection: ConnectionId, xid: i32, request: &Request) {
        let Some(peer) = self.peers.get_mut(&connection) else { return };
        let mut out = std::mem::take(&mut peer.out);
        let (start, zxid) = (out.len(), self.zxid);
        let mut outcome = Ok(());
        reply(&mut out, xid, zxid, Ok(()), |out| outcome = self.read_into(connection, request, out));
        if let Err(code) = outcome {
            out.truncate(start);
            reply(&mut out, xid, zxid, Err(code), |_| {});
        }
        if let Some(peer) = self.peers.get_mut(&connection) {
            peer.out = out;
        }
        self.send(connection, |_| {});
    }

    fn read_into(
        &mut self,
        connection: ConnectionId,
        request: &Request,
        out: &mut BytesMut,
    ) -> Result<(), Code> {
        let peer = self.peers.get(&connection).ok_or(Code::SessionExpired)?;
        match request {
            Request::Exists { path, watch } => {
                if path.contains('\0') {
                    return Err(Code::BadArguments);
                }
                let stat = self.tree.get(path).map(Node::stat);
                if *watch {
                    self.watches.add(connection, path, WatchSet::DATA);
                }
                Item::Stat(&stat.ok_or(Code::NoNode)?).encode(out);
            }
            Request::GetData { path, watch } => self.data(connection, path, *watch, out)?,
            Request::GetChildren { path, watch, with_stat } => {
                self.children(connection, path, *watch, *with_stat, out)?;
            }
            Request::MultiRead(reads) => {
                for read in reads {
                    let start = out.len();
                    let outcome = match read {
                        Read::Data { path } => {
                            multi::header(out, Operation::GetData);
                            self.data(connection, path, false, out)
                        }
                        Read::Children { path } => {
                            multi::header(out, Operation::GetChildren);
                            self.children(connection, path, false, false, out)
                        }
                    };
                    if let Err(code) = outcome {
                        out.truncate(start);
                        multi::error(out, Some(code));
                    }
                    if out.len() > MAX_REPLY {
                        return Err(Code::Marshalling);
                    }
                }
                multi::end(out);
            }
            Request::GetAcl { path } => {
                let (acl, node) = self.tree.acl(path, Self::caller(peer))?;
                Item::Acl(&acl).encode(out);
                Item::Stat(&node.stat()).encode(out);
            }
            Request::GetAllChildrenNumber { path } => {
                self.tree.read(path, Self::caller(peer))?;
                let count = self.tree.descendants(path);
                Item::Int(i32::try_from(count).unwrap_or(i32::MAX)).encode(out);
            }
            Request::GetEphemerals { prefix } => {
                let all = matches!(prefix.trim(), "" | "/");
                let paths = self.tree.ephemerals(peer.session).map(|path| &**path);
                let paths: Vec<&str> = paths.filter(|path| all || path.starts_with(prefix)).collect();
                out.strings(paths.into_iter());
            }
            Request::WhoAmI => Item::Users(&peer.ids).encode(out),
            _ => return Err(Code::Unimplemented),
        }
        Ok(())
    }

    fn data(
        &mut self,
        connection: ConnectionId,
        path: &str,
        watch: bool,
        out: &mut BytesMut,
    ) -> Result<(), Code> {
        let node = self.tree.read(path, Self::caller(self.peer(connection)?))?;
        Item::Data(node.data.as_deref()).encode(out);
        Item::Stat(&node.stat()).encode(out);
        if watch {
            self.watches.add(connection, path, WatchSet::DATA);
        }
        Ok(())
    }

    fn children(
        &mut self,
        connection: ConnectionId,
        path: &str,
        watch: bool,
        with_stat: bool,
        out: &mut BytesMut,
    ) -> Result<(), Code> {
        let node = self.tree.read(path, Self::caller(self.peer(connection)?))?;
        out.strings(node.children.iter().map(|name| &**name));
        self.names_listed += node.children.len() as u64;
        if with_stat {
            Item::Stat(&node.stat()).encode(out);
        }
        if watch {
            self.watches.add(connection, path, WatchSet::CHILD);
        }
        Ok(())
    }

    fn peer(&self, connection: ConnectionId) -> Result<&Peer, Code> {
        self.peers.get(&connection).ok_or(Code::SessionExpired)
    }
}
