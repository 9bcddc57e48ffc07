//! `cargo xtask picture`: draws the picture of the demo in the README from the output of the program.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use atalaya_testbed::{Scratch, Terminal, parent_death_command};

use xtask::cargo::{Profile, build_node, workspace};

/// Path of the picture, relative to the workspace.
const PICTURE: &str = "docs/demo.svg";
/// Size of the window, in cells.
const WINDOW: (u16, u16) = (110, 30);
/// Script of the demo until the picture is taken: a leader dies and is revived, another one dies, and the API goes
/// down.
const SHOW: &str = "\
8s kill leader
16s revive all
22s kill leader
32s api away
";
/// Texts on the screen at which the picture is taken: some averages are waiting.
const MOMENT: [&str; 2] = ["API down", "waiting 4"];

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let program = build_node(Profile::Dev, &[])?;
    let scratch = Scratch::new("picture");
    let script = scratch.path().join("show.txt");
    std::fs::write(&script, SHOW).with_context(|| format!("cannot write {}", script.display()))?;
    let mut command = parent_death_command(program);
    // This folder has no boards.toml, so the demo uses the built-in board.
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
    let path = workspace().join(PICTURE);
    std::fs::write(&path, picture).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{shown}");
    eprintln!("written to {}", path.display());
    Ok(ExitCode::SUCCESS)
}
