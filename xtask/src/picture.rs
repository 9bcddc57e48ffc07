//! `cargo xtask picture`: the picture of the demo that the README shows, taken from the program itself.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use atalaya_testbed::{Scratch, Terminal, guarded, target_dir};

use crate::cargo::{cargo, workspace};

/// Where the picture is kept, below the workspace.
const PICTURE: &str = "docs/demo.svg";
/// The window, in cells.
const WINDOW: (u16, u16) = (110, 30);
/// What happens before the picture is taken: a leader dies and is revived, another one dies, and the API goes away.
const SHOW: &str = "\
8s kill leader
16s revive all
22s kill leader
32s api away
";
/// When the picture is taken: some averages wait.
const MOMENT: [&str; 2] = ["API down", "waiting 4"];

/// Run the demo in a terminal for half a minute, and draw what it shows into docs/demo.svg.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Into another file.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let status = cargo().args(["build", "--package", "atalaya", "--bin", "atalaya"]).status();
    ensure!(status.context("cannot run cargo")?.success(), "the node does not build, see above");
    let program = target_dir().join("debug").join(format!("atalaya{}", std::env::consts::EXE_SUFFIX));

    let scratch = Scratch::new("picture");
    let script = scratch.path().join("show.txt");
    std::fs::write(&script, SHOW).with_context(|| format!("cannot write {}", script.display()))?;
    let mut command = guarded(program);
    // No boards.toml there: the built-in board.
    command.args(["demo", "--nodes", "6", "--script"]).arg(&script).current_dir(scratch.path());
    let mut terminal = Terminal::spawn(command, WINDOW);
    eprintln!("the demo runs; the picture is taken after some 36 s");
    let shown = terminal.wait_until("a moment worth a picture", Duration::from_secs(120), |text| {
        MOMENT.iter().all(|words| text.contains(words))
    });
    let colours = terminal.look(|screen| screen.contents_formatted_basic());
    terminal.press("q");
    terminal.wait_exit(Duration::from_secs(5));

    let picture = anstyle_svg::Term::new().render_svg(&colours);
    let path = arguments.output.clone().unwrap_or_else(|| workspace().join(PICTURE));
    std::fs::write(&path, picture).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{shown}");
    eprintln!("written to {}", path.display());
    Ok(ExitCode::SUCCESS)
}
