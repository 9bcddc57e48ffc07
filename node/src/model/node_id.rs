//! The id of a node. It is the name of a znode and a field of log lines.

use std::fmt;
use std::str::FromStr;

/// Id of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(String);

/// Maximum length of an id, in bytes. ZooKeeper allows far more; log lines would become unreadable.
const MAX_LENGTH: usize = 128;

/// Reason why a text is not a node id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node id cannot {0}; it is a short name such as 1 or greenhouse-2")]
pub struct BadNodeId(&'static str);

impl FromStr for NodeId {
    type Err = BadNodeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_blank = |c: char| c.is_control() || c.is_whitespace();
        Err(BadNodeId(match text {
            "" => "be empty",
            _ if text.len() > MAX_LENGTH => "be longer than 128 bytes",
            "." | ".." => "be . or ..",
            _ if text.contains('/') => "contain /",
            _ if text.contains(is_blank) => "contain blanks or control characters",
            _ => return Ok(NodeId(text.to_owned())),
        }))
    }
}

impl NodeId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_id_is_a_short_name_of_a_znode() {
        for good in ["1", "greenhouse-2", "ático", "a.b", &"x".repeat(128)] {
            assert_eq!(good.parse::<NodeId>().unwrap().as_str(), good);
        }
        for bad in ["", "/", "a/b", ".", "..", "a b", "a\n", "\u{7f}", &"x".repeat(10_000)] {
            let message = bad.parse::<NodeId>().unwrap_err().to_string();
            assert!(message.contains("such as 1"), "{message}");
        }
    }
}
