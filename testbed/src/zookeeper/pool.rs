//! Servers that tests use one after the other. The start of a JVM takes half a second of processor time, more than most
//! tests.

use std::ops::{Deref, DerefMut};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use zookeeper_client::{Acls, Client, Error};

use super::ZooKeeper;
use crate::spawn::has_setpriv;

const DELETION: Duration = Duration::from_secs(5);
/// Maximum number of tests that use a server: its log grows, and [`ZooKeeper::journal`] reads all of it.
const USES: u32 = 20;

/// Servers that no test uses now. They end with this process.
static UNUSED: Mutex<Vec<PooledZooKeeper>> = Mutex::new(Vec::new());

/// A server like that of [`ZooKeeper::start`], which other tests of this process may have used before. It starts with no
/// session and no znode, but its log has the lines of earlier tests.
///
/// When dropped, it is kept for another test, unless it was killed or frozen, or this test failed.
pub struct PooledZooKeeper {
    /// `None` only while this is dropped.
    server: Option<ZooKeeper>,
    uses: u32,
}

impl PooledZooKeeper {
    /// Returns a server that nobody uses, or starts one.
    #[track_caller]
    pub fn get() -> Self {
        take().unwrap_or_else(|| Self { server: Some(ZooKeeper::start()), uses: 1 })
    }
}

impl From<ZooKeeper> for PooledZooKeeper {
    /// Returns a server that no other test will use.
    fn from(server: ZooKeeper) -> Self {
        Self { server: Some(server), uses: USES }
    }
}

impl Deref for PooledZooKeeper {
    type Target = ZooKeeper;

    fn deref(&self) -> &ZooKeeper {
        self.server.as_ref().expect("the server is there until this is dropped")
    }
}

impl DerefMut for PooledZooKeeper {
    fn deref_mut(&mut self) -> &mut ZooKeeper {
        self.server.as_mut().expect("the server is there until this is dropped")
    }
}

impl Drop for PooledZooKeeper {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else { return };
        // Without setpriv, the server would survive this process.
        if self.uses < USES && !server.was_disturbed && has_setpriv() && !thread::panicking() {
            UNUSED.lock().push(Self { server: Some(server), uses: self.uses });
        }
    }
}

/// Returns a server without sessions and znodes, if there is one.
fn take() -> Option<PooledZooKeeper> {
    let unused = std::mem::take(&mut *UNUSED.lock());
    let mut found = None;
    for mut server in unused {
        // The sessions of killed clients last until they expire.
        if found.is_some() || !is_idle(&server) {
            UNUSED.lock().push(server);
        } else if is_emptied(&mut server) {
            server.uses += 1;
            found = Some(server);
        } else {
            server.uses = USES;
        }
    }
    found
}

/// Returns true if the server has no sessions, and no connections other than that of this request.
fn is_idle(server: &ZooKeeper) -> bool {
    let answer = server.try_four("mntr").unwrap_or_default();
    let has =
        |name: &str, value: &str| answer.lines().any(|line| line.split_once('\t') == Some((name, value)));
    has("zk_global_sessions", "0") && has("zk_num_alive_connections", "1")
}

/// Deletes all znodes, and lets the journal start here. Returns false if that fails.
fn is_emptied(server: &mut ZooKeeper) -> bool {
    let address = server.connect_string();
    // The calling thread may belong to an asynchronous runtime.
    let deletion = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        runtime.block_on(async { tokio::time::timeout(DELETION, delete_all(&address)).await.ok()?.ok() })
    });
    let zxid = deletion.join().ok().flatten().and_then(|()| server.last_zxid());
    server.first_zxid = zxid.map_or(0, |zxid| zxid + 1);
    zxid.is_some()
}

async fn delete_all(address: &str) -> Result<(), Error> {
    let client = Client::connect(address).await?;
    // Nothing restores the ACL of the root.
    if client.get_acl("/").await?.0 != *Acls::anyone_all() {
        return Err(Error::NoAuth);
    }
    // Parents before their children; the root is an empty string.
    let mut paths = vec![String::new()];
    let mut next = 0;
    while let Some(parent) = paths.get(next).cloned() {
        let children = client.list_children(if parent.is_empty() { "/" } else { &parent }).await?;
        let children = children.into_iter().map(|child| format!("{parent}/{child}"));
        paths.extend(children.filter(|path| path != "/zookeeper"));
        next += 1;
    }
    for path in paths[1..].iter().rev() {
        client.delete(path, None).await?;
    }
    let mut state = client.state_watcher();
    drop(client);
    while !state.peek_state().is_terminated() {
        state.changed().await;
    }
    Ok(())
}
