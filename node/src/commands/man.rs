//! `atalaya man`: manual pages, generated from the help of the commands.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};

use super::Cli;
use super::stdout::print;
use crate::commands::exit::Failure;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya man | man -l -                                  read the main page
  sudo atalaya man --folder /usr/local/share/man/man1     install all pages; then: man atalaya-run")]
pub(super) struct ManArgs {
    /// Folder for one page per command; created if missing [default: print the main page].
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

pub(super) fn main(args: &ManArgs) -> Result<(), Failure> {
    match &args.folder {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(Failure::io)?;
            print(&page)
        }
        Some(folder) => write(folder)
            .with_context(|| format!("cannot write manual pages into {}", folder.display()))
            .map_err(Failure::io),
    }
}

/// Writes the pages of all commands. They are created in a new subfolder and moved from there, so that a symbolic
/// link with the name of a page is replaced and not followed.
fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let new = folder.join(format!(".atalaya-man-{}", std::process::id()));
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&new)?;
    let moved = clap_mangen::generate_to(Cli::command(), &new).and_then(|()| {
        for page in fs::read_dir(&new)? {
            let page = page?;
            fs::rename(page.path(), folder.join(page.file_name()))?;
        }
        Ok(())
    });
    fs::remove_dir_all(&new)?;
    moved
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn manual_pages_replace_symbolic_links_and_do_not_follow_them() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let pages = folder.path().join("pages");
        fs::create_dir(&pages).unwrap();
        std::os::unix::fs::symlink(&victim, pages.join("atalaya.1")).unwrap();
        for _ in 0..2 {
            write(&pages).unwrap();
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(fs::read_to_string(pages.join("atalaya.1")).unwrap().contains(".TH"));
        assert!(fs::read_dir(&pages).unwrap().flatten().all(|page| page.path().is_file()));
    }
}
