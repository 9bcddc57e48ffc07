//! Pages of docs/sensors: one for each chip, and an index by quantity. They are generated from the table of chips, and
//! this test checks that the files are up to date. `ATALAYA_UPDATE_DOCS=1 cargo test -p atalaya-config sensor_pages` writes them.
//!
//! The sample configurations are parsed, and the example output is that of the simulated sensor.

mod index;
mod page;
mod sample;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use atalaya_config::{Backend, Boards};
use atalaya_hal::Chip;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sensors")
}

/// Returns the pages by file name.
fn pages() -> BTreeMap<String, String> {
    let chips = Chip::ALL.into_iter().map(|chip| (format!("{chip}.md"), page::page(chip)));
    chips.chain([("README.md".to_owned(), index::index())]).collect()
}

#[test]
fn pages_of_all_sensors_are_up_to_date() {
    let (folder, pages) = (folder(), pages());
    if std::env::var_os("ATALAYA_UPDATE_DOCS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for file in fs::read_dir(&folder).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        for (name, page) in &pages {
            fs::write(folder.join(name), page).unwrap();
        }
    }
    let files = fs::read_dir(&folder).unwrap().map(|file| file.unwrap());
    let found: BTreeMap<String, String> = files
        .map(|file| (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap()))
        .collect();
    let differs = |name: &&String| found.get(*name) != pages.get(*name);
    let different: Vec<&String> = found.keys().chain(pages.keys()).filter(differs).collect();
    assert!(different.is_empty(), "run this test with ATALAYA_UPDATE_DOCS=1, which changes {different:?}");
}

#[test]
fn sample_configurations_of_all_sensors_are_valid() {
    for chip in Chip::ALL {
        let backend = sample::backend(chip);
        for text in [sample::minimal(chip), sample::full(chip)] {
            let boards =
                Boards::parse(&text, "boards.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
            let board = boards.board(Some("pi")).unwrap().1;
            assert_eq!(board.backend, if backend == "sim" { Backend::Sim } else { Backend::Linux });
            assert_eq!(board.sensors[0].spec().chip, chip);
        }
    }
}

#[test]
fn full_configuration_of_every_chip_has_the_defaults_of_its_settings() {
    for chip in Chip::ALL.into_iter().filter(|chip| !chip.spec().settings.is_empty()) {
        let boards = Boards::parse(&sample::full(chip), "boards.toml").unwrap();
        let settings = &boards.board(Some("pi")).unwrap().1.sensors[0].spec().settings;
        let defaults = chip.default_settings();
        for setting in chip.spec().settings {
            let same = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs();
            if let (Some(given), Some(default)) = (settings.get(setting.key), defaults.get(setting.key)) {
                assert!(
                    same(given, default),
                    "{chip}: {} of {given}, but the default is {default}",
                    setting.key
                );
            }
        }
    }
}
