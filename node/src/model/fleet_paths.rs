//! The paths of a fleet's znodes, relative to the chroot.

use super::{acl_policy, barrier, counter};

/// Parent of the fence, the reports and the node info.
const STATE_PATH: &str = "/atalaya";
/// Parent of the znodes of the nodes that wait until the election has fewer contenders than the limit.
pub(crate) const STANDBY_PATH: &str = "/atalaya/standby";
/// Suffix of the parent of the counter's dedup records.
const ADDERS_SUFFIX: &str = "__adders__";

/// The znodes of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetPaths {
    /// The chroot, and the parents of the trees: single znodes, whose other children are not the fleet's.
    pub parents: Vec<String>,
    /// Znodes that belong to the fleet with all znodes below them. None of them is below another one.
    pub trees: Vec<String>,
}

impl FleetPaths {
    /// Returns the paths of a fleet with these parents of measurements and contenders.
    pub fn new(measurements: &str, election: &str) -> FleetPaths {
        let adders = format!("{}{ADDERS_SUFFIX}", counter::PATH);
        let all = [
            measurements,
            election,
            STATE_PATH,
            acl_policy::CONFIGURATION_PATH,
            barrier::PATH,
            counter::PATH,
            &adders,
        ];
        let mut trees: Vec<String> = Vec::new();
        for (at, path) in all.into_iter().enumerate() {
            let is_below = |other: &str| path.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'));
            if !all.into_iter().any(is_below) && !all[..at].contains(&path) {
                trees.push(path.to_owned());
            }
        }
        let mut parents = vec!["/".to_owned()];
        for tree in &trees {
            let slashes = tree.match_indices('/').skip(1).map(|(at, _)| at);
            for parent in slashes.filter_map(|at| tree.get(..at)) {
                if !parents.iter().any(|known| known == parent) {
                    parents.push(parent.to_owned());
                }
            }
        }
        FleetPaths { parents, trees }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_chroot_and_the_trees_of_the_fleet() {
        let paths = FleetPaths::new("/mediciones", "/election");
        assert_eq!(paths.parents, ["/"]);
        let trees =
            ["/mediciones", "/election", "/atalaya", "/config", "/barrier", "/counter", "/counter__adders__"];
        assert_eq!(paths.trees, trees);
    }

    #[test]
    fn parents_of_trees_are_single_znodes_and_nested_trees_are_one() {
        let paths = FleetPaths::new("/farm/north/m", "/farm/north/m/election");
        assert_eq!(paths.parents, ["/", "/farm", "/farm/north"]);
        assert_eq!(paths.trees[0], "/farm/north/m");
        assert_eq!(paths.trees[1], "/atalaya");
        let paths = FleetPaths::new("/atalaya", "/atalayas/election");
        assert_eq!(paths.parents, ["/", "/atalayas"]);
        assert_eq!(paths.trees[..2], ["/atalaya", "/atalayas/election"]);
    }
}
