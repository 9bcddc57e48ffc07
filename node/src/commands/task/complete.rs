//! `atalaya task complete`: names of actions for the completion of a shell.
//!
//! A completion must not disturb the terminal: the command prints no error and ends within [`TIMEOUT`]. The names are kept
//! in a file of the user, which is used for [`FRESH`], and while ZooKeeper does not respond.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};
use std::{fs, io, thread};

use clap::Args;
use clap_complete::Shell;

use crate::commands::args::ConnectionArgs;
use crate::commands::load_settings;
use crate::commands::stdout::print;
use crate::commands::tools::connection::with_session;
use crate::settings::environment;
use crate::tasks::client::read;
use crate::tasks::explain::known_actions;

#[derive(Debug, Args)]
pub(in crate::commands) struct CompleteArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Time limit of a completion.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Age up to which the names in the file are used without a connection.
const FRESH: Duration = Duration::from_secs(10);
/// Maximum size of the file that is read, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// Prints the names of the known actions, one per line.
pub(super) fn main(args: &CompleteArgs) {
    let Ok((_, settings)) = load_settings(None, &args.connection.flags.0) else { return };
    let servers = settings.zookeeper.to_string();
    let file = cache_file();
    let cached = file.as_deref().and_then(|file| read_cache(file, &servers));
    let is_fresh = cached.as_ref().is_some_and(|(_, age)| *age < FRESH);
    let fetched = if is_fresh { None } else { fetch(&args.connection) };
    if let (Some(names), Some(file)) = (&fetched, &file) {
        // Without the file, the next completion connects again.
        let _ = write_cache(file, &servers, names);
    }
    let names = fetched.or_else(|| cached.map(|(names, _)| names)).unwrap_or_default();
    let _ = print(names.as_bytes());
}

/// Returns the names from ZooKeeper; `None` if it does not respond in time.
fn fetch(connection: &ConnectionArgs) -> Option<String> {
    let mut connection = connection.clone();
    connection.connect_timeout = TIMEOUT;
    let (sender, names) = mpsc::channel();
    // The thread ends with the process, also if the session is still being closed.
    let fetch = move || {
        let _ = with_session(&connection, async |session| {
            let names = lines(known_actions(&read::workers(&session).await?));
            // The receiver may have stopped waiting.
            let _ = sender.send(names);
            Ok(())
        });
    };
    thread::Builder::new().name("completion".to_owned()).spawn(fetch).ok()?;
    names.recv_timeout(TIMEOUT).ok()
}

/// Returns one line per name. The shell splits the names and would expand other characters, so that others are left out.
fn lines(names: Vec<String>) -> String {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_plain = |name: &String| !name.is_empty() && name.bytes().all(is_allowed);
    names.into_iter().filter(is_plain).map(|name| name + "\n").collect()
}

/// Returns the path of the file, below the cache folder of the user.
fn cache_file() -> Option<PathBuf> {
    let absolute = |path: String| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let folder = environment("XDG_CACHE_HOME").and_then(absolute);
    let home = || environment("HOME").and_then(absolute).map(|home| home.join(".cache"));
    Some(folder.or_else(home)?.join("atalaya").join("actions"))
}

/// Returns the names for these servers and their age. The first line of the file contains the servers.
fn read_cache(file: &Path, servers: &str) -> Option<(String, Duration)> {
    let metadata = fs::metadata(file).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return None;
    }
    // A time in the future counts as old.
    let age = SystemTime::now().duration_since(metadata.modified().ok()?).unwrap_or(Duration::MAX);
    let text = fs::read_to_string(file).ok()?;
    let (first, names) = text.split_once('\n')?;
    let names = lines(names.lines().map(str::to_owned).collect());
    (first == servers).then_some((names, age))
}

fn write_cache(file: &Path, servers: &str, names: &str) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let new = folder.join(format!(".actions-{}", std::process::id()));
    let written = fs::write(&new, format!("{servers}\n{names}")).and_then(|()| fs::rename(&new, file));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// Adds the names of actions to the completion script of a shell: the first word after `task submit` is an action.
pub(in crate::commands) fn with_actions(shell: Shell, script: String) -> String {
    match shell {
        Shell::Bash => script + BASH,
        Shell::Fish => script + FISH,
        // The function must precede the call at the end of the script.
        Shell::Zsh => script.replacen("lists them:_default'", "lists them:_atalaya_actions'", 1).replacen(
            "\nautoload ",
            &format!("\n{ZSH}\nautoload "),
            1,
        ),
        _ => script,
    }
}

const BASH: &str = r#"
_atalaya_with_actions() {
    local word="${COMP_WORDS[COMP_CWORD]}"
    if [[ ${COMP_CWORD} -eq 3 && ${COMP_WORDS[1]} == task && ${COMP_WORDS[2]} == submit && ${word} != -* ]]; then
        COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" task complete 2>/dev/null </dev/null)" -- "${word}"))
        return 0
    fi
    _atalaya "$@"
}
complete -F _atalaya_with_actions -o bashdefault -o default atalaya
"#;

const FISH: &str = r#"
complete -c atalaya -n "__fish_atalaya_using_subcommand task; and __fish_seen_subcommand_from submit" -f -a "(command atalaya task complete 2>/dev/null </dev/null)"
"#;

const ZSH: &str = r#"_atalaya_actions() {
    local -a actions
    actions=(${(f)"$(command atalaya task complete 2>/dev/null </dev/null)"})
    compadd -a actions
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_file_are_used_for_the_same_servers_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("atalaya").join("actions");
        assert_eq!(read_cache(&file, "a:1"), None);
        write_cache(&file, "a:1", "status\nx$(y)\n").unwrap();
        let (names, age) = read_cache(&file, "a:1").unwrap();
        assert_eq!((names.as_str(), age < FRESH), ("status\n", true));
        assert_eq!(read_cache(&file, "b:1"), None);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn names_that_a_shell_would_expand_are_left_out() {
        let names = ["a.b-c_1", "$(x)", "a b", "", "*"].map(str::to_owned);
        assert_eq!(lines(names.into()), "a.b-c_1\n");
    }
}
