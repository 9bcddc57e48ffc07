//! The order of contenders. No I/O.
//!
//! A contender is a child of `/master` whose name ends with ten digits; the lowest number leads. `master_current` and all
//! other children are not contenders.

use atalaya_recipes::text::truncate;

/// Number of digits that ZooKeeper appends.
const DIGITS: usize = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The znode does not exist.
    Absent,
    First,
    /// Not first. The contender directly ahead is the one to watch.
    Behind {
        predecessor: String,
        ahead: usize,
    },
}

/// Returns the number of a contender, or `None` if `name` is not that of a contender.
pub(crate) fn number(name: &str) -> Option<&str> {
    let digits = name.get(name.len().checked_sub(DIGITS)?..)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)
}

/// Returns the contenders among `children`, the leader first.
pub(crate) fn contenders(children: &[String]) -> Vec<&str> {
    let mut numbered: Vec<(&str, &str)> =
        children.iter().filter_map(|name| Some((number(name)?, name.as_str()))).collect();
    numbered.sort_unstable();
    numbered.into_iter().map(|(_, name)| name).collect()
}

pub(crate) fn place(children: &[String], own: &str) -> Place {
    let contenders = contenders(children);
    match contenders.iter().position(|name| *name == own) {
        None => Place::Absent,
        Some(0) => Place::First,
        Some(ahead) => Place::Behind { predecessor: contenders[ahead - 1].to_owned(), ahead },
    }
}

/// Returns the beginning of text of other programs, for a message.
pub(crate) fn shown(name: &str) -> String {
    truncate(name, 80)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn lowest_number_leads_and_master_current_is_not_a_contender() {
        let children = names(&["master_current", "0000000007", "0000000003", "0000000010", "notes"]);
        assert_eq!(place(&children, "0000000003"), Place::First);
        let behind = |predecessor: &str, ahead| Place::Behind { predecessor: predecessor.to_owned(), ahead };
        assert_eq!(place(&children, "0000000007"), behind("0000000003", 1));
        assert_eq!(place(&children, "0000000010"), behind("0000000007", 2));
        assert_eq!(place(&children, "0000000001"), Place::Absent);
        assert_eq!(place(&children, "master_current"), Place::Absent);
    }

    #[test]
    fn contenders_with_a_prefix_are_ordered_by_their_numbers() {
        let children = names(&["b_0000000001", "a_0000000002"]);
        assert_eq!(contenders(&children), ["b_0000000001", "a_0000000002"]);
    }

    proptest! {
        #[test]
        fn exactly_one_contender_is_first(children in prop::collection::vec("([a-z]{0,3}_?[0-9]{9,11}|.{0,14})", 0..8)) {
            let unique: std::collections::BTreeSet<String> = children.into_iter().collect();
            let children: Vec<String> = unique.into_iter().collect();
            let first = children.iter().filter(|name| place(&children, name) == Place::First).count();
            prop_assert_eq!(first, usize::from(!contenders(&children).is_empty()));
            for name in &children {
                if let Place::Behind { predecessor, .. } = place(&children, name) {
                    prop_assert!(number(&predecessor) <= number(name) && predecessor != *name);
                }
            }
        }
    }
}
