//! Commands of an installation, and its errors.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::part::Part;

/// Reason why a part is still missing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message describes its error")]
pub enum InstallError {
    #[error("{why}; please install:{}", list(.missing))]
    ByHand { why: &'static str, missing: Vec<Part> },
    #[error(
        "this needs packages of Debian 12, and this machine has no apt-get that knows a mirror of Debian; run it on \
         Debian 12 or later, or in a container of it"
    )]
    NoDebian,
    #[error("`{command}` failed:\n{output}")]
    Failed { command: String, output: String },
    #[error("installed {packages}, and still missing:{}", list(.missing))]
    StillMissing { packages: String, missing: Vec<Part> },
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}

impl InstallError {
    pub(crate) fn io(what: String, source: std::io::Error) -> Self {
        Self::Io { what, source }
    }
}

fn list(missing: &[Part]) -> String {
    missing.iter().map(|part| format!("\n  - {}", part.advice())).collect()
}

/// Runs a command and passes its output to `progress`. Keeps the end of the output for the error.
pub(crate) fn run(command: &mut Command, progress: &mut impl FnMut(&str)) -> Result<(), InstallError> {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let shown = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let io = |source| InstallError::Io { what: format!("run `{shown}`"), source };
    let (output, stdout) = std::io::pipe().map_err(io)?;
    let stderr = stdout.try_clone().map_err(io)?;
    let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn();
    // The command holds the write ends: unless they are closed here, reading does not end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = child.map_err(io)?;
    let mut last = Vec::new();
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        progress(&line);
        if last.len() == 20 {
            last.remove(0);
        }
        last.push(line);
    }
    let status = child.wait().map_err(io)?;
    if status.success() {
        return Ok(());
    }
    last.push(format!("({status})"));
    Err(InstallError::Failed { command: shown, output: last.join("\n") })
}

/// Opens and locks a file; the lock ends when the value is dropped, or the process dies.
pub(crate) fn locked(path: &Path) -> Result<File, InstallError> {
    let open = || {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok(file)
    };
    open().map_err(|source| InstallError::Io { what: format!("lock {}", path.display()), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_of_a_failed_command_contains_its_output() {
        let mut output = Vec::new();
        let script = "echo on stdout; echo on stderr >&2; exit 3";
        let error = run(Command::new("sh").args(["-c", script]), &mut |line| output.push(line.to_owned()));
        assert_eq!(output, ["on stdout", "on stderr"]);
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("exit 3`") && text.contains("on stderr") && text.contains("status: 3"),
            "{text}"
        );
    }

    #[test]
    fn error_lists_the_parts_to_install_by_hand() {
        let error = InstallError::ByHand { why: "this machine has no apt-get", missing: Part::ALL.to_vec() };
        let text = error.to_string();
        assert!(
            text.starts_with("this machine has no apt-get; please install:\n  - a Java runtime"),
            "{text}"
        );
        assert!(text.contains("package `zookeeper`") && text.contains("python3-venv"), "{text}");
    }
}
