//! Index of the pages, by quantity.

use std::fmt::Write;

use atalaya_hal::catalogue::Measures;
use atalaya_hal::{Chip, Quantity};

use super::page::{GENERATED, on, shortened, title};

pub(crate) fn index() -> String {
    let mut text = format!("{GENERATED}\n# Sensors\n\n{INTRODUCTION}\n## By quantity\n");
    for quantity in Quantity::ALL {
        text += &chips_that_measure(quantity);
    }
    text += "\n### As configured\n\n";
    for chip in Chip::ALL.into_iter().filter(|chip| chip.quantities().is_none()) {
        let _ = writeln!(text, "- [{}]({chip}.md): {}", title(chip), chip.spec().about);
    }
    text += "\n## All sensors\n\n";
    text += "| chip | description | on | measures | driver | simulated as | tested on |\n|---|---|---|---|---|---|---|\n";
    for chip in Chip::ALL {
        text += &row(chip);
    }
    text + NOTES
}

fn chips_that_measure(quantity: Quantity) -> String {
    let measured = |chip: Chip| {
        let measured = chip.spec().measured().iter().find(|measured| measured.quantity == quantity)?;
        Some((chip, measured))
    };
    let mut chips = Chip::ALL.into_iter().filter_map(measured).peekable();
    if chips.peek().is_none() {
        return String::new();
    }
    let name = quantity.name();
    let (first, rest) = name.split_at(1);
    let mut text = format!(
        "\n### {}{rest} ({})\n\n| chip | minimum | maximum | resolution | on |\n|---|---|---|---|---|\n",
        first.to_uppercase(),
        quantity.unit()
    );
    for (chip, measured) in chips {
        let limits = if measured.product {
            "voltage × current | | ".to_owned()
        } else {
            format!("{} | {} | {}", measured.min, measured.max, shortened(measured.resolution))
        };
        let _ = writeln!(text, "| [{}]({chip}.md) | {limits} | {} |", title(chip), on(chip));
    }
    text
}

fn row(chip: Chip) -> String {
    let spec = chip.spec();
    let also: Vec<String> = spec.aliases.iter().map(|alias| format!("`{alias}`")).collect();
    let also = if also.is_empty() { String::new() } else { format!(" ({})", also.join(", ")) };
    let measures = match spec.measures {
        Measures::Always(measured) => {
            let with_unit = measured
                .iter()
                .map(|measured| format!("{} ({})", measured.quantity, measured.quantity.unit()));
            with_unit.collect::<Vec<_>>().join(", ")
        }
        Measures::Configured => "as configured".to_owned(),
    };
    let simulated = if spec.on_bus() { "registers" } else { "readings" };
    format!(
        "| [`{chip}`]({chip}.md){also} | {} | {} | {measures} | {} | {simulated} | {} |\n",
        spec.about,
        on(chip),
        spec.driver,
        spec.tested
    )
}

const INTRODUCTION: &str = "\
Each page describes one sensor: quantities, wiring, configuration with every key and its default, example output, and
common problems. `atalaya sensors scan` shows the addresses that answer on the buses of a machine, and the chips that may
be there; `atalaya sensors read` reads the sensors of a board.
";

const NOTES: &str = "
* *On*: all addresses that the pins of a chip can select.
* *Simulated as*: the behaviour of `backend = \"sim\"`. *Registers* are a model of the chip on a simulated bus, read by
  the driver of the real chip; *readings* are numbers, without the driver.
* *Tested on*: \"mock transactions\" are bytes from the datasheet, with every error of the bus.

## Filters

`filters` is a list of steps, applied to each value in this order:

| filter | effect |
|---|---|
| `{ offset = -0.5 }` | adds a number |
| `{ scale = 2 }` | multiplies by a number |
| `{ linear = [[0, 0.4], [100, 99.1]] }` | calibrates with two points: `[measured, actual]` |
| `{ median = 5 }`, `{ mean = 5 }` | median or mean of the last values |
| `{ exponential = 0.2 }` | exponential average; the weight of the newest value |
| `{ clamp = [0, 100] }` | limits the value |
| `{ range = [-20, 60] }` | refuses other values |
| `{ delta = 0.5 }` | drops a value that differs by less from the last one |
| `{ round = 1 }` | rounds to decimals |

## Simulation

With `backend = \"sim\"`, `sim` selects the values of each quantity and injects faults: see
[sim/README.md](../../sim/README.md). With `backend = \"linux\"` it is ignored, so a configuration can contain both.

## Problems on I²C

| problem | cause and remedy |
|---|---|
| `no acknowledge at 0x48 on /dev/i2c-1` | The chip is absent, without power, or has another address: check the wires and `atalaya sensors scan`. |
| `timeout` | A line is stuck low, or a chip stretches the clock, which the controller of a Raspberry Pi does not handle: switch the power off and on; the overlay `i2c-gpio` replaces the controller. |
| `bus error` | Noise: shorten the wires, check the ground and the pull-up resistors. |
| `a kernel driver owns 0x48` | Read the chip through the kernel: [`hwmon`](hwmon.md) or [`iio`](iio.md); the message contains the lines. |
| `cannot open /dev/i2c-1` | Enable I²C with `dtparam=i2c_arm=on`, and add the user to the group `i2c`. |
";
