//! `cargo xtask docs`: builds the documents into a book, and checks their links.

mod links;
mod markdown;
mod sources;

use std::process::{Command, ExitCode};

use anyhow::ensure;
use atalaya_testbed::target_dir;

use crate::tools::MDBOOK;
use xtask::cargo::{succeeds, workspace};

/// Build the documents into a book with a search, and check all links within the project.
///
/// docs/SUMMARY.md is the table of contents. Links between Markdown files, and from them to other files, are checked
/// first, then those of the pages. Links to other sites are not checked. mdbook is built into the target folder if it
/// is missing, which takes minutes, once.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask docs            the book, target/book/index.html
  cargo xtask docs --check    only the links of the Markdown files, without mdbook")]
pub(crate) struct Arguments {
    /// Check the links of the Markdown files, and build nothing.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    report(&links::broken_in_markdown(&workspace())?)?;
    if arguments.check {
        return Ok(ExitCode::SUCCESS);
    }
    let mdbook = MDBOOK.installed()?;
    let target = target_dir();
    let (sources, book) = (target.join("book-sources"), target.join("book"));
    sources::write(&workspace(), &sources)?;
    succeeds(Command::new(&mdbook).arg("build").arg(&sources).arg("--dest-dir").arg(&book))?;
    report(&links::broken_in_book(&book)?)?;
    println!("{}", book.join("index.html").display());
    Ok(ExitCode::SUCCESS)
}

/// Fails if there are broken links, and prints them.
fn report(broken: &[String]) -> anyhow::Result<()> {
    broken.iter().for_each(|line| eprintln!("{line}"));
    ensure!(broken.is_empty(), "{} broken links, see above", broken.len());
    Ok(())
}
