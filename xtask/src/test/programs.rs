//! Builds the test programs with cargo, and runs several of them at the same time: most of them wait for half of their
//! time. Those that need the processors for themselves follow, one after the other.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, anyhow, ensure};
use atalaya_testbed::target_dir;
use serde_json::Value;
use xtask::cargo::cargo;

use super::THREADS;
use crate::parallel;

/// Number of test programs that run at the same time.
const PARALLEL: usize = 2;
/// The slowest one, which runs beside many others.
const FIRST: &str = "node/program";
/// Modules of [`FIRST`] that run alone: they check how soon a node reacts, with the margins of a machine that is not busy.
const PROMPT: [&str; 5] =
    ["demo::", "follower_killed::", "leader_failover::", "node_id_taken::", "process_trees::"];
/// Programs that run alone: their sessions expire after less than a second, or they run dozens of fleets at a time.
const ALONE: [&str; 3] = ["node/tasks_killed", "recipes/chaos", "recipes/recipes"];
/// The last one, which waits for most of its time: `.ci/run` starts the emulated Pi beside it.
const LAST: &str = "node/exactly_once";

/// Name of the program that runs the tests in the documentation: cargo.
const DOCUMENTATION: &str = "documentation";

/// A test program that cargo has built, or cargo, which runs the tests in the documentation.
struct Program {
    /// Folder of the package and target. A library and a binary of the same name differ by their kind.
    name: String,
    command: Vec<OsString>,
    /// Folder of its package, in which tests run.
    folder: PathBuf,
}

/// Builds and runs the tests that `words` select, and prints the output of each program when it ends. Returns true if
/// all tests passed.
pub(super) fn run(words: &[&str], threads: &str) -> anyhow::Result<bool> {
    let folder = target_dir().join("tests");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut programs = build(words)?;
    programs.sort_by_key(|program| (program.name != FIRST, program.name.clone()));
    let last = programs.extract_if(.., |program| program.name == LAST).collect::<Vec<_>>();
    let (mut alone, mut together): (Vec<_>, Vec<_>) =
        programs.into_iter().partition(|program| ALONE.contains(&program.name.as_str()));
    let first = together.iter_mut().find(|program| program.name == FIRST);
    alone.extend(first.map(Program::split_prompt));
    alone.extend(last);
    let mut summary = Summary::default();
    // Beside the others from the start: later, another cargo may keep it waiting for the lock of the target folder.
    let documentation = Program::documentation(words);
    thread::scope(|scope| {
        let outcome = scope.spawn(|| documentation.run(threads));
        run_all(&together, PARALLEL, threads, &mut summary)?;
        let outcome = outcome.join().map_err(|_| anyhow!("the tests in the documentation panicked"))?;
        summary.report(&documentation.name, outcome)
    })?;
    run_all(&alone, 1, threads, &mut summary)?;
    summary.print();
    Ok(summary.failed.is_empty())
}

/// Runs programs, `jobs` at the same time, and prints the output of each.
fn run_all(programs: &[Program], jobs: usize, threads: &str, summary: &mut Summary) -> anyhow::Result<()> {
    let (start, mut ended, mut result) = (Instant::now(), 0, Ok(()));
    let seconds = || start.elapsed().as_secs_f64();
    let work = |(): &mut (), program: &Program| {
        eprintln!("[{:4.0} s] started {}", seconds(), program.name);
        program.run(threads)
    };
    parallel::run_all(
        jobs,
        programs,
        || (),
        work,
        |program, outcome| {
            ended += 1;
            if let Err(error) = summary.report(&program.name, outcome) {
                result = Err(error);
            }
            eprintln!("[{:4.0} s] {ended} of {} ended: {}", seconds(), programs.len(), program.name);
        },
    )?;
    result
}

fn build(words: &[&str]) -> anyhow::Result<Vec<Program>> {
    let mut command = cargo();
    command.args(words).args(["--no-run", "--message-format=json-render-diagnostics"]);
    let output = command.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the tests do not build, see above");
    let lines = output.stdout.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(Program::of_message).collect())
}

impl Program {
    /// Reads a message of cargo, which is JSON. Returns `None` unless it is about a test program.
    fn of_message(line: &[u8]) -> Option<Program> {
        let message: Value = serde_json::from_slice(line).ok()?;
        let text = |path: &str| message.pointer(path)?.as_str();
        let is_test = message.pointer("/profile/test")?.as_bool()?;
        let command = vec![text("/executable")?.into()];
        let folder = PathBuf::from(text("/manifest_path")?).parent()?.to_owned();
        let kind = text("/target/kind/0")?;
        let suffix = if kind == "test" { "" } else { &format!(" ({kind})") };
        let name = format!("{}/{}{suffix}", folder.file_name()?.to_str()?, text("/target/name")?);
        is_test.then_some(Program { name, command, folder })
    }

    fn documentation(words: &[&str]) -> Program {
        let command = cargo();
        let words = words.iter().chain(&["--doc"]).map(OsString::from);
        let folder = command.get_current_dir().map(Path::to_path_buf).unwrap_or_default();
        let command = [command.get_program().to_owned()].into_iter().chain(words).collect();
        Program { name: DOCUMENTATION.to_owned(), command, folder }
    }

    /// Takes the tests of [`PROMPT`] out of the program. Returns the program with these tests only.
    fn split_prompt(&mut self) -> Program {
        let mut prompt = self.command.clone();
        prompt.extend(PROMPT.map(OsString::from));
        self.command.extend(PROMPT.iter().flat_map(|module| ["--skip", module].map(OsString::from)));
        Program { name: format!("{} (prompt)", self.name), command: prompt, folder: self.folder.clone() }
    }

    /// Runs the program. Returns its output, and true if it succeeded.
    fn run(&self, threads: &str) -> anyhow::Result<(String, bool)> {
        // A file and not a pipe, which a process that outlives its test would keep open.
        let log = target_dir().join("tests").join(format!("{}.log", self.name.replace('/', "-")));
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).current_dir(&self.folder);
        command.env(THREADS, threads);
        if self.name != DOCUMENTATION {
            // Not for cargo: the build script of `ring` depends on it, and half of the graph would be compiled again.
            command.env("CARGO_MANIFEST_DIR", &self.folder);
        }
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let status = command.status().with_context(|| format!("cannot run {}", self.name))?;
        let output = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        Ok((String::from_utf8_lossy(&output).into_owned(), status.success()))
    }
}

/// Results of the programs that have ended.
#[derive(Default)]
struct Summary {
    programs: usize,
    /// Numbers of tests that passed, failed, and were ignored.
    tests: [u64; 3],
    failed: Vec<String>,
}

impl Summary {
    /// Prints the output of a program, and counts its tests.
    fn report(&mut self, name: &str, outcome: anyhow::Result<(String, bool)>) -> anyhow::Result<()> {
        let (output, is_success) = outcome?;
        println!("     Running {name}");
        print!("{output}");
        self.add(name, &output, is_success);
        Ok(())
    }

    fn add(&mut self, name: &str, output: &str, is_success: bool) {
        self.programs += 1;
        if !is_success {
            self.failed.push(name.to_owned());
        }
        // Documentation tests print one for each package.
        for line in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
            for (sum, kind) in self.tests.iter_mut().zip([" passed", " failed", " ignored"]) {
                let number = line
                    .split_once(kind)
                    .and_then(|(before, _)| before.rsplit(' ').next()?.parse::<u64>().ok());
                *sum += number.unwrap_or(0);
            }
        }
    }

    /// Prints a line like that of the test runner, for all programs together.
    fn print(&self) {
        let [passed, failed, ignored] = self.tests;
        for name in &self.failed {
            println!("failed: {name}");
        }
        let result = if self.failed.is_empty() { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {result}. {passed} passed; {failed} failed; {ignored} ignored; {} programs",
            self.programs
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_cargo_are_read() {
        let message =
            br#"{"reason":"compiler-artifact","manifest_path":"/p/node/Cargo.toml","target":{"name":"slim","kind":["test"]},
            "profile":{"test":true},"executable":"/p/target/debug/deps/slim-1"}"#;
        let program = Program::of_message(message).unwrap();
        assert_eq!((program.name.as_str(), program.folder.to_str()), ("node/slim", Some("/p/node")));
        let no_program =
            br#"{"reason":"compiler-artifact","manifest_path":"/p/hal/Cargo.toml","target":{"name":"hal","kind":["lib"]},
            "profile":{"test":false},"executable":null}"#;
        assert!(Program::of_message(no_program).is_none());
        assert!(Program::of_message(b"").is_none());
    }

    #[test]
    fn prompt_tests_run_once() {
        let (name, folder) = (FIRST.to_owned(), PathBuf::new());
        let mut program = Program { name, command: vec!["program".into()], folder };
        let prompt = program.split_prompt();
        assert_eq!(prompt.command[1..], PROMPT);
        assert_eq!(program.command[1..3], ["--skip", PROMPT[0]]);
        assert_eq!(program.command.len(), 1 + 2 * PROMPT.len());
    }

    #[test]
    fn results_are_added_up() {
        let mut summary = Summary::default();
        summary.add(
            "a/one",
            "\ntest result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out\n",
            true,
        );
        summary.add(
            "a/two",
            "\ntest result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; finished\n",
            false,
        );
        summary.add("a/crashed", "signal", false);
        assert_eq!((summary.programs, summary.tests), (3, [14, 1, 1]));
        assert_eq!(summary.failed, ["a/two", "a/crashed"]);
    }
}
