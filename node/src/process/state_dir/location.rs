//! Location of the state directory, and names of the state files.

use std::path::{Path, PathBuf};

use atalaya_recipes::ConnectString;

use crate::settings::Env;

/// Value of the flag and of the variable that disables the state directory.
const OFF: &str = "off";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StateDir {
    /// A directory, which may not exist yet.
    At(PathBuf),
    /// Disabled by the user.
    Off,
    /// Not configured, and the user has no home directory.
    Unknown,
}

impl StateDir {
    /// Returns the first directory that is configured: by the flag, by `ATALAYA_STATE_DIR`, by systemd
    /// (`STATE_DIRECTORY`), or by the home directory of the user.
    pub(crate) fn find(flag: Option<&PathBuf>, env: Env<'_>) -> StateDir {
        let variable = |name: &str| (env.variable)(name).filter(|value| !value.is_empty());
        let configured = flag.cloned().or_else(|| variable("ATALAYA_STATE_DIR").map(PathBuf::from));
        if let Some(dir) = configured {
            return if dir == Path::new(OFF) { StateDir::Off } else { StateDir::At(dir) };
        }
        // systemd lists all state directories of the unit; the first is the one in our unit file.
        let from_systemd =
            variable("STATE_DIRECTORY").and_then(|list| list.split(':').next().map(PathBuf::from));
        // The XDG Base Directory Specification demands that relative paths are ignored.
        let absolute = |path: PathBuf| path.is_absolute().then_some(path);
        let default = || {
            let state = variable("XDG_STATE_HOME").map(PathBuf::from).and_then(absolute);
            let home =
                || variable("HOME").map(|home| Path::new(&home).join(".local/state")).and_then(absolute);
            let windows = || variable("LOCALAPPDATA").map(PathBuf::from).and_then(absolute);
            let base = state.or_else(|| if cfg!(windows) { windows() } else { home() });
            base.map(|base| base.join("atalaya"))
        };
        from_systemd.and_then(absolute).or_else(default).map_or(StateDir::Unknown, StateDir::At)
    }
}

/// Returns the name, without extension, of the files of the node `id`. It is different for each fleet, because two
/// fleets may have a node 1 on the same machine. `measurement` is the path of the node's measurement. The order of
/// the servers does not matter.
pub(crate) fn file_stem(id: &str, zookeeper: &ConnectString, measurement: &str) -> String {
    let servers = zookeeper.servers();
    let mut servers: Vec<&str> = servers.split(',').collect();
    servers.sort_unstable();
    let identity = [&servers.join(","), zookeeper.chroot().unwrap_or(""), id, measurement].join("\0");
    format!("{}{:016x}", prefix(id), fnv_1a(identity.as_bytes()))
}

/// Returns true if `stem` may be the [file_stem] of a node `id` of any fleet.
pub(in crate::process) fn is_file_stem_of(stem: &str, id: &str) -> bool {
    let hash = stem.strip_prefix(&prefix(id));
    hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// Returns the readable part of a file name. The hash after it makes it unique, also if case is ignored.
fn prefix(id: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = id.chars().take(40).map(safe).collect();
    format!("node-{name}-")
}

/// Computes the 64-bit FNV-1a hash. Unlike the standard library's hashes it is the same in every version.
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(flag: Option<&str>, variables: &[(&str, &str)]) -> StateDir {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        StateDir::find(flag.map(PathBuf::from).as_ref(), Env { variable: &variable })
    }

    #[cfg(unix)]
    #[test]
    fn state_dir_is_the_first_configured_directory() {
        let all = [
            ("ATALAYA_STATE_DIR", "own"),
            ("STATE_DIRECTORY", "/var/lib/atalaya:/var/lib/more"),
            ("XDG_STATE_HOME", "/xdg"),
            ("HOME", "/home/me"),
        ];
        let at = |path: &str| StateDir::At(path.into());
        assert_eq!(find(Some("here"), &all), at("here"));
        assert_eq!(find(None, &all), at("own"));
        assert_eq!(find(None, &all[1..]), at("/var/lib/atalaya"));
        assert_eq!(find(None, &all[2..]), at("/xdg/atalaya"));
        assert_eq!(find(None, &all[3..]), at("/home/me/.local/state/atalaya"));
        assert_eq!(
            find(None, &[("XDG_STATE_HOME", "relative"), ("HOME", "/h")]),
            at("/h/.local/state/atalaya")
        );
        assert_eq!(find(None, &[("ATALAYA_STATE_DIR", ""), ("HOME", "/h")]), at("/h/.local/state/atalaya"));
        assert_eq!(find(None, &[("HOME", "")]), StateDir::Unknown);
        assert_eq!(find(Some("off"), &all), StateDir::Off);
        assert_eq!(find(None, &[("ATALAYA_STATE_DIR", "off"), ("HOME", "/h")]), StateDir::Off);
    }

    #[test]
    fn file_stem_is_unique_for_each_node_of_each_fleet() {
        let file_stem = |id: &str, servers: &str, measurement: &str| {
            super::file_stem(id, &servers.parse().unwrap(), measurement)
        };
        let one = file_stem("1", "zk1,zk2/fleet", "/mediciones/1");
        // A constant, because a later version must find the files of an earlier one.
        assert_eq!(one, "node-1-4a1938bebc1b91d5");
        assert_eq!(one, file_stem("1", "zk2:2181,zk1:2181/fleet", "/mediciones/1"));
        for other in [
            file_stem("2", "zk1,zk2/fleet", "/mediciones/2"),
            file_stem("1", "zk1,zk2", "/mediciones/1"),
            file_stem("1", "zk1,zk3/fleet", "/mediciones/1"),
            file_stem("1", "zk1,zk2/fleet", "/others/1"),
        ] {
            assert_ne!(one, other);
        }
        assert!(is_file_stem_of(&one, "1") && !is_file_stem_of("node-1-2", "1"));
        assert!(!is_file_stem_of(&one, "2") && !is_file_stem_of(&one, ""));
        assert!(!is_file_stem_of(&file_stem("1-2", "zk1", "/m"), "1"), "the id of another node");
        let odd = file_stem(&"á:\\x".repeat(32), "zk1", "/mediciones/1");
        assert!(
            odd.len() < 80 && odd.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)),
            "{odd}"
        );
    }
}
