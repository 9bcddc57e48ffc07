//! Where nodes of this machine are remembered, and what their files are called.

use std::path::{Path, PathBuf};

use atalaya_recipes::ConnectString;

use crate::settings::Env;

/// What the flag and the variable say for "nowhere".
const OFF: &str = "off";

/// Where to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateDir {
    /// In this folder, which may not exist yet.
    At(PathBuf),
    /// Nowhere: so it was asked for.
    Off,
    /// Nowhere: there is neither a setting nor a home.
    Unknown,
}

impl StateDir {
    /// The flag, else `ATALAYA_STATE_DIR`, else systemd's `STATE_DIRECTORY`, else the user's own.
    pub fn find(flag: Option<&PathBuf>, surroundings: Env<'_>) -> StateDir {
        let variable = |name: &str| (surroundings.variable)(name).filter(|value| !value.is_empty());
        let told = flag.cloned().or_else(|| variable("ATALAYA_STATE_DIR").map(PathBuf::from));
        match told {
            Some(folder) if folder == Path::new(OFF) => return StateDir::Off,
            Some(folder) => return StateDir::At(folder),
            None => {}
        }
        // systemd lists all that a unit was given; the first is the one named in our unit.
        let given = variable("STATE_DIRECTORY").and_then(|list| list.split(':').next().map(PathBuf::from));
        // The XDG Base Directory Specification: a relative path is to be ignored.
        let absolute = |path: PathBuf| path.is_absolute().then_some(path);
        let own = || {
            let state = variable("XDG_STATE_HOME").map(PathBuf::from).and_then(absolute);
            let home =
                || variable("HOME").map(|home| Path::new(&home).join(".local/state")).and_then(absolute);
            let windows = || variable("LOCALAPPDATA").map(PathBuf::from).and_then(absolute);
            let base = state.or_else(|| if cfg!(windows) { windows() } else { home() });
            base.map(|base| base.join("atalaya"))
        };
        given.and_then(absolute).or_else(own).map_or(StateDir::Unknown, StateDir::At)
    }
}

/// What the files of the node `id` are called, but for their ends: two fleets may have a node 1 on one machine. `own` is
/// the path of its measurement. The order of servers makes no difference.
pub fn stem(id: &str, zookeeper: &ConnectString, own: &str) -> String {
    let servers = zookeeper.servers();
    let mut servers: Vec<&str> = servers.split(',').collect();
    servers.sort_unstable();
    let identity = [&servers.join(","), zookeeper.chroot().unwrap_or(""), id, own].join("\0");
    format!("{}{:016x}", beginning(id), fnv(identity.as_bytes()))
}

/// Whether a file that is called so, but for its end, is that of a node `id` of some fleet, for all that its name tells.
pub(in crate::process) fn is_of(stem: &str, id: &str) -> bool {
    let number = stem.strip_prefix(&beginning(id));
    number.is_some_and(|number| number.len() == 16 && number.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// For people. The number behind it tells them apart, also where file names have no case.
fn beginning(id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = id.chars().take(40).map(plain).collect();
    format!("node-{name}-")
}

/// FNV-1a, 64 bits: the same in every version, which the standard library's hashes are not.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(flag: Option<&str>, variables: &[(&str, &str)]) -> StateDir {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        StateDir::find(flag.map(PathBuf::from).as_ref(), Env { variable: &variable })
    }

    #[cfg(unix)]
    #[test]
    fn the_first_place_that_is_named() {
        let all = [
            ("ATALAYA_STATE_DIR", "own"),
            ("STATE_DIRECTORY", "/var/lib/atalaya:/var/lib/more"),
            ("XDG_STATE_HOME", "/xdg"),
            ("HOME", "/home/me"),
        ];
        let at = |path: &str| StateDir::At(path.into());
        assert_eq!(found(Some("here"), &all), at("here"));
        assert_eq!(found(None, &all), at("own"));
        assert_eq!(found(None, &all[1..]), at("/var/lib/atalaya"));
        assert_eq!(found(None, &all[2..]), at("/xdg/atalaya"));
        assert_eq!(found(None, &all[3..]), at("/home/me/.local/state/atalaya"));
        assert_eq!(
            found(None, &[("XDG_STATE_HOME", "relative"), ("HOME", "/h")]),
            at("/h/.local/state/atalaya")
        );
        assert_eq!(found(None, &[("ATALAYA_STATE_DIR", ""), ("HOME", "/h")]), at("/h/.local/state/atalaya"));
        assert_eq!(found(None, &[("HOME", "")]), StateDir::Unknown);
        assert_eq!(found(Some("off"), &all), StateDir::Off);
        assert_eq!(found(None, &[("ATALAYA_STATE_DIR", "off"), ("HOME", "/h")]), StateDir::Off);
    }

    #[test]
    fn a_file_for_each_node_of_each_fleet() {
        let stem = |id: &str, servers: &str, own: &str| super::stem(id, &servers.parse().unwrap(), own);
        let one = stem("1", "zk1,zk2/fleet", "/mediciones/1");
        // Written down: a later version must find the files of an earlier one.
        assert_eq!(one, "node-1-4a1938bebc1b91d5");
        assert_eq!(one, stem("1", "zk2:2181,zk1:2181/fleet", "/mediciones/1"));
        for other in [
            stem("2", "zk1,zk2/fleet", "/mediciones/2"),
            stem("1", "zk1,zk2", "/mediciones/1"),
            stem("1", "zk1,zk3/fleet", "/mediciones/1"),
            stem("1", "zk1,zk2/fleet", "/others/1"),
        ] {
            assert_ne!(one, other);
        }
        assert!(is_of(&one, "1") && !is_of(&one, "2") && !is_of(&one, "") && !is_of("node-1-2", "1"));
        assert!(!is_of(&stem("1-2", "zk1", "/m"), "1"), "another node");
        let odd = stem(&"á:\\x".repeat(32), "zk1", "/mediciones/1");
        assert!(
            odd.len() < 80 && odd.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)),
            "{odd}"
        );
    }
}
