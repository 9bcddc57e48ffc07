//! Znodes of the wrong type that another client creates on paths that the fleet uses. Pure.

use std::fmt;

use super::node_id;
use super::txn_effects::{BARRIER, ELECTION, MEASUREMENTS, NODE_INFO};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongZnode {
    /// A persistent contender with the lowest sequence number: no node leads after the current leader.
    Contender,
    /// A child of the barrier, which then cannot be deleted.
    BarrierChild,
    /// A persistent znode at the measurement of a node that is down.
    Measurement(usize),
    /// A persistent znode at the node info of a node that is down.
    NodeInfo(usize),
    /// A persistent znode among the node infos that belongs to no node.
    NodeInfoChild,
}

impl WrongZnode {
    /// Returns the path; `fault` makes it unique.
    pub(super) fn path(self, act: usize) -> String {
        match self {
            WrongZnode::Contender => format!("{ELECTION}{:032x}__lock__0000000000", 0xc4a0_0000 + act),
            WrongZnode::BarrierChild => format!("{BARRIER}/child-{act}"),
            WrongZnode::Measurement(node) => format!("{MEASUREMENTS}{}", node_id(node)),
            WrongZnode::NodeInfo(node) => format!("{NODE_INFO}{}", node_id(node)),
            WrongZnode::NodeInfoChild => format!("{NODE_INFO}squatter-{act}"),
        }
    }

    pub(super) fn data(self) -> &'static [u8] {
        match self {
            WrongZnode::Contender => b"wrong",
            WrongZnode::BarrierChild => b"",
            WrongZnode::Measurement(_) => b"not a measurement",
            WrongZnode::NodeInfo(_) | WrongZnode::NodeInfoChild => b"{\"pid\":\"none\",\"sensors\":7}",
        }
    }

    /// Returns the node that must be down when the znode is created.
    pub(super) fn node(self) -> Option<usize> {
        match self {
            WrongZnode::Measurement(node) | WrongZnode::NodeInfo(node) => Some(node),
            _ => None,
        }
    }
}

impl fmt::Display for WrongZnode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WrongZnode::Contender => f.write_str("a persistent contender before all others"),
            WrongZnode::BarrierChild => f.write_str("a child of the barrier"),
            WrongZnode::Measurement(node) => {
                write!(f, "a persistent znode at the measurement of node {}, which is killed", node_id(*node))
            }
            WrongZnode::NodeInfo(node) => {
                write!(f, "a persistent znode at the info of node {}, which is killed", node_id(*node))
            }
            WrongZnode::NodeInfoChild => f.write_str("a persistent znode among the node infos"),
        }
    }
}
