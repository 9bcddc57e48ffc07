//! `atalaya sensors scan`: finds chips on the I²C buses of this machine, and lists the supported chips that can have
//! the address. Does not write to the buses.

use clap::Args;

use crate::commands::args::Output;
use crate::commands::exit::Failure;

#[derive(Debug, Args)]
pub(in crate::commands) struct SensorsScanArgs {
    /// Buses to scan, such as i2c-1 [default: all buses].
    #[arg(value_name = "BUS")]
    buses: Vec<String>,

    /// Output format; json prints one object per line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[cfg(not(all(target_os = "linux", feature = "chips")))]
pub(super) fn main(_: &SensorsScanArgs) -> Result<(), Failure> {
    Err(Failure::io(anyhow::anyhow!(
        "I²C buses can be scanned only on Linux, by a build with the feature \"chips\"; run this command on the Raspberry Pi"
    )))
}

#[cfg(all(target_os = "linux", feature = "chips"))]
pub(super) fn main(args: &SensorsScanArgs) -> Result<(), Failure> {
    linux::scan(args, &atalaya_hal::linux::scan::Scanner::default())
}

#[cfg(all(target_os = "linux", feature = "chips"))]
mod linux {
    use anyhow::anyhow;
    use atalaya_hal::linux::scan::{Found, KnownBus, Owner, Scanner};
    use serde_json::json;

    use super::SensorsScanArgs;
    use crate::commands::args::Output;
    use crate::commands::exit::Failure;
    use crate::commands::stdout::{json_lines, print};
    use crate::sampling::bus_scan::format_bus as format_table;

    const NO_BUS: &str = "this machine has no I²C bus that a program can use; to enable it on a Raspberry Pi: \
                          sudo raspi-config nonint do_i2c 0";

    pub(super) fn scan(args: &SensorsScanArgs, scanner: &Scanner) -> Result<(), Failure> {
        let mut buses = scanner.buses();
        if let Some(unknown) = args.buses.iter().find(|name| buses.iter().all(|bus| bus.name != **name)) {
            let known: Vec<&str> = buses.iter().map(|bus| bus.name.as_str()).collect();
            let known = if known.is_empty() {
                NO_BUS.to_owned()
            } else {
                format!("this machine has {}", known.join(", "))
            };
            return Err(Failure::io(anyhow!("unknown bus \"{}\": {known}", unknown.escape_debug())));
        }
        if !args.buses.is_empty() {
            buses.retain(|bus| args.buses.contains(&bus.name));
        }
        if buses.is_empty() {
            return Err(Failure::io(anyhow!(NO_BUS)));
        }
        let mut failed = Vec::new();
        for bus in &buses {
            match scanner.scan(&bus.name) {
                Ok(found) => print(format_bus(bus, &found, args.output).as_bytes())?,
                Err(error) => failed.push(format!("{}: {error}", bus.name)),
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(Failure::io(anyhow!("{}", failed.join("; ")))) }
    }

    /// Formats the chips on one bus: a table below the name of the bus, or one JSON object per line.
    fn format_bus(bus: &KnownBus, found: &[Found], output: Output) -> String {
        if output == Output::Json {
            return json_lines(found.iter().map(|chip| {
                let (owner, driver) = match &chip.owner {
                    Owner::Free => ("free", None),
                    Owner::Kernel { driver } => ("kernel", driver.as_deref()),
                };
                json!({"bus": bus.name, "address": chip.address, "owner": owner, "driver": driver,
                    "candidates": chip.candidates})
            }));
        }
        format_table(bus, found)
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use atalaya_hal::linux::scan::candidates;

        fn bus() -> KnownBus {
            KnownBus { name: "i2c-1".to_owned(), about: Some("bcm2835 (i2c@7e804000)".to_owned()) }
        }

        fn found() -> Vec<Found> {
            let kernel = Owner::Kernel { driver: Some("lm75".to_owned()) };
            [(0x29, Owner::Free), (0x48, kernel), (0x76, Owner::Free)]
                .map(|(address, owner)| Found { address, owner, candidates: candidates(address) })
                .to_vec()
        }

        #[test]
        fn scan_table_shows_chips_and_their_boards_toml_settings() {
            let want = "\
i2c-1, bcm2835 (i2c@7e804000)
  0x29  no supported chip
  0x48  used by the kernel driver lm75: chip = \"hwmon\" or \"iio\", device = \"1-0048\"
  0x76  bme280, bmp280, bmp390
";
            assert_eq!(format_bus(&bus(), &found(), Output::Table), want);
            assert!(format_bus(&bus(), &[], Output::Table).contains("no chip responds"));
        }

        #[test]
        fn scan_json_has_one_object_per_address() {
            let text = format_bus(&bus(), &found(), Output::Json);
            let lines: Vec<serde_json::Value> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines.len(), 3);
            assert_eq!(lines[1]["driver"], "lm75");
            assert_eq!(
                lines[2],
                json!({"bus": "i2c-1", "address": 0x76, "owner": "free", "driver": null,
                "candidates": ["bme280", "bmp280", "bmp390"]})
            );
            assert_eq!(format_bus(&bus(), &[], Output::Json), "");
        }

        #[test]
        fn scan_of_an_unknown_bus_lists_the_known_ones() {
            let folder = std::env::temp_dir().join(format!("atalaya-scan-{}", std::process::id()));
            std::fs::create_dir(&folder).unwrap();
            let scanner = Scanner { dev: folder.clone(), sys: folder.clone() };
            let args = |buses: &[&str]| SensorsScanArgs {
                buses: buses.iter().map(|bus| (*bus).to_owned()).collect(),
                output: Output::Table,
            };
            let message = format!("{:#}", scan(&args(&[]), &scanner).unwrap_err());
            assert!(message.contains("raspi-config"), "{message}");
            std::fs::write(folder.join("i2c-3"), "").unwrap();
            let message = format!("{:#}", scan(&args(&["i2c-1"]), &scanner).unwrap_err());
            assert!(message.contains("unknown bus \"i2c-1\": this machine has i2c-3"), "{message}");
            // The file exists but is not a bus, so the first ioctl fails.
            let message = format!("{:#}", scan(&args(&["i2c-3"]), &scanner).unwrap_err());
            std::fs::remove_dir_all(&folder).unwrap();
            assert!(message.contains("i2c-3: cannot read 0x08"), "{message}");
        }
    }
}
