//! `atalaya man`: the manual, made of the command line's own help.

use std::fs;

use anyhow::Context as _;
use clap::CommandFactory as _;

use super::print;
use crate::cli::{Cli, ManArgs};
use crate::exit::Failure;

pub(super) fn main(args: &ManArgs) -> Result<(), Failure> {
    match &args.folder {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(Failure::io)?;
            print(&page)
        }
        Some(folder) => fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
            .with_context(|| format!("cannot write manual pages into {}", folder.display()))
            .map_err(Failure::io),
    }
}
