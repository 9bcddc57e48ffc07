//! Why a node left the fleet, as far as that can be known.
//!
//! When a session ends, its ephemeral znodes go, all at once, and ZooKeeper tells nobody whether the session was closed or
//! ran out. So a node that is told to stop says so before it closes its session: in one transaction it deletes its
//! measurement and writes `"leaving"` into what it says of itself, and it waits a moment, so that the leader, whom the
//! deletion has woken, can read that. A leader does not: nobody would hear it, and the next one is not kept waiting.
//!
//! Nothing of it stays in ZooKeeper, and nothing depends on it but a line in the log. Who is not heard in time, as Kazoo's
//! programs never are, has a session that is over: also true, and all that is known.

use std::time::Duration;

use atalaya_recipes::session::{BulkRead, Write};
use atalaya_recipes::{Connection, Session};
use serde_json::Value;
use tracing::debug;

use crate::model::node_id::NodeId;
use crate::model::node_info::PARENT;
use crate::model::text::sanitize_for_log;

/// How long saying it may take. Then the session is closed without it.
const SAYING: Duration = Duration::from_millis(250);
/// How long a leader has for hearing it: it lets 20 ms go by for others that leave, and reads once.
const HEARING: Duration = Duration::from_millis(100);
/// How long the leader tries to learn why.
const ASKING: Duration = Duration::from_millis(200);
/// As many are asked about at once, which bounds the answer.
const ASKED: usize = 64;

/// Says that the node is leaving because of `why`. The znodes at `measurement` and of what it says of itself must be this
/// session's; nobody may write them any more.
///
/// # Cancellation safety
/// It is said or not.
pub(crate) async fn say(session: &Session, id: &NodeId, measurement: &str, why: &str) {
    let saying = async {
        let connection = session.connection().await;
        let presence = format!("{PARENT}/{id}");
        let answers = connection.get_many(&[measurement, &presence]).await.ok()?;
        let [BulkRead::Data(_, measured), BulkRead::Data(said, present)] = &*answers else { return None };
        if [measured, present].iter().any(|stat| stat.ephemeral_owner != connection.session_id()) {
            return None;
        }
        let said = leaving(said, why)?;
        let writes = [
            Write::Delete { path: measurement, version: None },
            Write::Set { path: &presence, data: &said, version: None },
        ];
        connection.multi(&writes).await.ok()
    };
    match tokio::time::timeout(SAYING, saying).await {
        Ok(Some(_)) => tokio::time::sleep(HEARING).await,
        _ => debug!("nobody was told that this node leaves"),
    }
}

/// What a node says of itself, and that it is leaving.
fn leaving(said: &[u8], why: &str) -> Option<Vec<u8>> {
    let mut said: serde_json::Map<String, Value> = serde_json::from_slice(said).ok()?;
    said.insert("leaving".to_owned(), why.into());
    serde_json::to_vec(&said).ok()
}

/// Why a measurement is gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// Its node has said so.
    Stopped(String),
    /// Its node is still there.
    Deleted,
    /// Its node's session is over: it was closed without a word, or ran out.
    Over,
    /// Nobody was asked.
    Unknown,
}

impl Why {
    /// What comes after "left"; `many` nodes, or one.
    pub(crate) fn words(&self, many: bool) -> String {
        match (self, many) {
            (Why::Stopped(why), false) => format!(": it was stopped ({why})"),
            (Why::Stopped(why), true) => format!(": they were stopped ({why})"),
            (Why::Deleted, false) => ": its measurement was deleted, but its session lives".to_owned(),
            (Why::Deleted, true) => ": their measurements were deleted, but their sessions live".to_owned(),
            (Why::Over, false) => ": its session is over".to_owned(),
            (Why::Over, true) => ": their sessions are over".to_owned(),
            (Why::Unknown, _) => String::new(),
        }
    }

    fn of(answer: &BulkRead) -> Why {
        let BulkRead::Data(said, _) = answer else { return Why::Over };
        let said: Option<Value> = serde_json::from_slice(said).ok();
        match said.as_ref().and_then(|said| said.get("leaving")?.as_str()) {
            Some(why) => Why::Stopped(sanitize_for_log(why)),
            None => Why::Deleted,
        }
    }
}

/// Why the nodes with these ids left, in their order: the first of them is asked about in one short request, and nobody is
/// waited for.
pub(crate) async fn why(connection: &Connection, ids: &[&str]) -> Vec<Why> {
    let asked: Vec<String> = ids.iter().take(ASKED).map(|id| format!("{PARENT}/{id}")).collect();
    let answers = tokio::time::timeout(ASKING, connection.get_many(&asked)).await;
    let mut whys: Vec<Why> = match answers {
        Ok(Ok(answers)) => answers.iter().map(Why::of).collect(),
        _ => Vec::new(),
    };
    whys.resize(ids.len(), Why::Unknown);
    whys
}

#[cfg(test)]
mod tests {
    use atalaya_recipes::Stat;

    use super::*;
    use crate::model::node_info::NodeInfo;

    fn data(said: &[u8]) -> BulkRead {
        let stat = Stat {
            czxid: 1,
            mzxid: 1,
            pzxid: 1,
            ctime: 1,
            mtime: 1,
            version: 0,
            cversion: 0,
            aversion: 0,
            ephemeral_owner: 7,
            data_length: 0,
            num_children: 0,
        };
        BulkRead::Data(said.to_vec(), stat)
    }

    #[test]
    fn who_says_that_it_leaves_is_heard_and_nothing_else_of_it_changes() {
        let before = NodeInfo::of("b").data();
        let after = leaving(&before, "SIGTERM").unwrap();
        assert_eq!(Why::of(&data(&after)), Why::Stopped("SIGTERM".into()));
        let mut after: Value = serde_json::from_slice(&after).unwrap();
        after.as_object_mut().unwrap().remove("leaving");
        assert_eq!(after, serde_json::from_slice::<Value>(&before).unwrap());
        assert_eq!(Why::of(&data(&before)), Why::Deleted);
    }

    #[test]
    fn garbage_is_no_word() {
        for said in [&b""[..], b"7", b"[]", b"{\"leaving\":7}", b"\xff"] {
            assert_eq!(Why::of(&data(said)), Why::Deleted);
        }
        assert_eq!(leaving(b"[1]", "SIGTERM"), None);
        let long = format!("{{\"leaving\":\"{}\"}}", "\\u001b".repeat(1_000));
        let words = Why::of(&data(long.as_bytes())).words(false);
        assert!(words.chars().count() < 120 && !words.chars().any(char::is_control), "{words}");
    }
}
