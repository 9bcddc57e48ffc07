//! Checks that the table of chips in the README is equal to the catalogue.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use atalaya_hal::Chip;
use atalaya_hal::catalogue::{Attachment, Measures, Pretence};

const README: &str = include_str!("../README.md");

const HEAD: &str = "| chip | description | on | measures | driver | simulated as | tested on |\n|---|---|---|---|---|---|---|\n";

/// Returns the environments in which the driver was tested. Not all of these chips have been tested on a real board.
fn tried(chip: Chip) -> &'static str {
    match (chip, chip.entry().attachment, chip.entry().pretence) {
        // Chips emulated by QEMU; hwmon reads the same thermometer through the kernel.
        (Chip::Lm75 | Chip::Tmp105, ..) => "emulated Pi, simulated registers, mock transactions",
        (Chip::Hwmon, ..) => "emulated Pi, sysfs made by tests",
        (_, Attachment::I2c { .. } | Attachment::Spi, Pretence::Registers) => {
            "simulated registers, mock transactions"
        }
        (_, Attachment::I2c { .. } | Attachment::Spi, Pretence::Readings) => "mock transactions",
        (_, Attachment::Kernel, _) => "sysfs made by tests",
        _ => "this machine",
    }
}

/// Returns the expected table.
fn table() -> String {
    let mut table = HEAD.to_owned();
    for chip in Chip::ALL {
        let entry = chip.entry();
        let also: Vec<String> = entry.aliases.iter().map(|alias| format!("`{alias}`")).collect();
        let also = if also.is_empty() { String::new() } else { format!(" ({})", also.join(", ")) };
        let on = match entry.attachment {
            Attachment::I2c { addresses: [only] } => format!("I²C, {only:#04x}"),
            Attachment::I2c { addresses } => {
                let consecutive = addresses.windows(2).all(|pair| pair[1] == pair[0] + 1);
                let (first, last) = (addresses[0], addresses[addresses.len() - 1]);
                let between = if consecutive && addresses.len() > 2 { "to" } else { "or" };
                format!("I²C, {first:#04x} {between} {last:#04x}")
            }
            Attachment::Spi => "SPI".to_owned(),
            Attachment::Kernel => "sysfs".to_owned(),
            _ => "-".to_owned(),
        };
        let measures = match entry.measures {
            Measures::Always(quantities) => {
                let with_unit: Vec<String> =
                    quantities.iter().map(|quantity| format!("{quantity} ({})", quantity.unit())).collect();
                with_unit.join(", ")
            }
            Measures::Configured => "as configured".to_owned(),
        };
        let pretended = match entry.pretence {
            Pretence::Registers => "registers",
            Pretence::Readings => "readings",
        };
        table.push_str(&format!(
            "| `{chip}`{also} | {} | {on} | {measures} | {} | {pretended} | {} |\n",
            entry.about,
            entry.driver,
            tried(chip)
        ));
    }
    table
}

#[test]
fn the_table_of_chips_is_the_catalogue() {
    let start = README.find("| chip | description").unwrap();
    let rows = README[start..].lines().take_while(|line| line.starts_with('|'));
    let found: String = rows.map(|line| format!("{line}\n")).collect();
    let wanted = table();
    assert!(found == wanted, "the table in hal/README.md has to be:\n\n{wanted}");
}
