//! The files that are shipped beside the program are valid: `deploy/`, manual pages, completions, and the commands and
//! boards in the documentation.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use atalaya::commands::Cli;
use atalaya_testbed::Scratch;
use clap::{CommandFactory as _, Parser as _};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(path: &str) -> String {
    let path = workspace().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn atalaya(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_atalaya")).args(words).env_clear().output().unwrap()
}

/// Returns the output of `atalaya check` for a text, which must be valid.
fn accepted(boards: &str, whose: &str) -> String {
    let scratch = Scratch::new("shipped");
    let path = scratch.write("boards.toml", boards);
    let output = atalaya(&["check", path.to_str().unwrap()]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{whose}: {complaint}\n{boards}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the contents of the fenced code blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in page.lines() {
        open = match (open, line.trim_start().strip_prefix("```")) {
            (None, Some(named)) => Some((named == language, String::new())),
            (Some((wanted, block)), Some(_)) => {
                blocks.extend(wanted.then_some(block));
                None
            }
            (Some((wanted, block)), None) => Some((wanted, block + line + "\n")),
            (None, None) => None,
        };
    }
    assert!(open.is_none(), "a block has no end");
    blocks
}

#[test]
fn packaged_boards_and_their_examples_are_valid() {
    let shipped = text("deploy/boards.toml");
    let summary = accepted(&shipped, "as shipped");
    assert!(summary.contains("pi (1 sensor)"), "{summary}");
    let is_example = |rest: &str| rest.starts_with(|c: char| !c.is_whitespace());
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if is_example(rest) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    let everything: String = shipped.lines().map(line).collect();
    let summary = accepted(&everything, "with all examples");
    assert!(summary.contains("pi (4 sensors)") && summary.contains("zk1:2181"), "{summary}");
}

#[test]
fn template_unit_runs_as_the_single_unit() {
    let is_setting = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let unit = |name: &str| -> Vec<String> {
        text(&format!("deploy/systemd/{name}")).lines().filter(is_setting).map(str::to_owned).collect()
    };
    let (one, several) = (unit("atalaya.service"), unit("atalaya@.service"));
    let only = |these: &[String], others: &[String]| -> Vec<String> {
        these.iter().filter(|line| !others.contains(line)).cloned().collect()
    };
    let own = only(&one, &several);
    assert!(own[0].starts_with("Description="), "{own:?}");
    assert_eq!(
        own[1..],
        [
            "Environment=ATALAYA_ID=%H",
            "ExecStart=/usr/bin/atalaya run ${ATALAYA_ID}",
            "ExecStopPost=-/usr/bin/atalaya reap ${ATALAYA_ID}"
        ]
    );
    let own = only(&several, &one);
    assert_eq!(own[0], "Description=Atalaya: node %i of a fleet");
    assert_eq!(
        own[1..],
        [
            "EnvironmentFile=-/etc/default/atalaya-%i",
            "ExecStart=/usr/bin/atalaya run %i",
            "ExecStopPost=-/usr/bin/atalaya reap %i"
        ]
    );
}

#[test]
fn packaged_changelog_starts_with_this_version() {
    let changelog = text("deploy/debian/changelog");
    assert!(changelog.starts_with(concat!("atalaya (", env!("CARGO_PKG_VERSION"), "-")), "{changelog}");
}

#[test]
fn every_command_has_a_manual_page() {
    fn names(command: &clap::Command, before: &str, found: &mut Vec<String>) {
        let name = format!("{before}{}", command.get_name());
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            names(below, &format!("{name}-"), found);
        }
        found.push(name);
    }
    let scratch = Scratch::new("man");
    let folder = scratch.path().join("not/there/yet");
    let output = atalaya(&["man", "--folder", folder.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut wanted = Vec::new();
    names(&Cli::command(), "", &mut wanted);
    let mut written: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut wanted: Vec<String> = wanted.iter().map(|name| format!("{name}.1")).collect();
    wanted.sort();
    written.sort();
    assert_eq!(written, wanted);
    assert!(written.contains(&"atalaya-sensors-scan.1".to_owned()), "{written:?}");
    for page in &written {
        let page = fs::read_to_string(folder.join(page)).unwrap();
        assert!(page.contains(".TH ") && page.contains(".SH SYNOPSIS"), "{page}");
    }
    // No file can be created below a file.
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    let output = atalaya(&["man", "--folder", file.join("below").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(74));
}

#[test]
fn bash_accepts_the_completions() {
    let scratch = Scratch::new("completions");
    let path = scratch.write("atalaya.bash", atalaya(&["completions", "bash"]).stdout);
    let script = ". \"$1\"; complete -p atalaya";
    let output = Command::new("bash").args(["-c", script, "bash"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("_atalaya"));
}

#[test]
fn commands_in_the_documentation_exist() {
    const ENDS: [&str; 6] = ["|", "&", "#", ">", ";", "&&"];
    let mut count = 0;
    const PAGES: [&str; 8] = [
        "README.md",
        "node/README.md",
        "docs/operations.md",
        "docs/running.md",
        "docs/monitoring.md",
        "docs/running-collector.md",
        "docs/raspberry-pi.md",
        "docs/demo.md",
    ];
    for page in PAGES {
        for line in blocks(&text(page), "sh").iter().flat_map(|block| block.lines()) {
            let words = line.split_whitespace().skip_while(|word| ["sudo", "-u"].contains(word));
            // `sudo -u atalaya atalaya …` contains the user name first.
            let mut words: Vec<&str> = words.take_while(|word| !ENDS.contains(word)).collect();
            if words.first() == Some(&"atalaya") && words.get(1) == Some(&"atalaya") {
                words.remove(0);
            }
            if words.first() != Some(&"atalaya") {
                continue;
            }
            count += 1;
            if let Err(error) = Cli::try_parse_from(words) {
                // clap returns help and version as errors too.
                assert!(!error.use_stderr(), "{page}: {line}\n{error}");
            }
        }
    }
    assert!(count >= 20, "only {count} commands were found: the blocks are no longer marked `sh`?");
}

#[test]
fn boards_in_the_raspberry_pi_guide_are_valid() {
    let boards = blocks(&text("docs/raspberry-pi.md"), "toml");
    assert!(boards.len() >= 2, "{boards:?}");
    for block in boards {
        let board = "[boards.pi]\nbackend = \"linux\"\n";
        let whole = if block.contains("[boards.pi]") { block } else { format!("{board}{block}") };
        accepted(&whole, "docs/raspberry-pi.md");
    }
}

#[test]
fn scan_output_in_the_raspberry_pi_guide_is_current() {
    let mut count = 0;
    for line in text("docs/raspberry-pi.md").lines() {
        let Some((address, chips)) = line.strip_prefix("  0x").and_then(|line| line.split_once("  ")) else {
            continue;
        };
        let found = atalaya_hal::linux::scan::candidates(u8::from_str_radix(address, 16).unwrap());
        let found: Vec<&str> = found.iter().map(|chip| chip.name()).collect();
        assert_eq!(chips, found.join(", "));
        count += 1;
    }
    assert_eq!(count, 2);
}
