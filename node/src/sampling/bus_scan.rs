//! Table of the chips that were found on a bus.

use atalaya_hal::linux::scan::{Found, KnownBus, Owner};

/// Formats the chips on one bus as a table below the name of the bus.
pub(crate) fn format_bus(bus: &KnownBus, found: &[Found]) -> String {
    let about = bus.about.as_deref().map(|about| format!(", {about}")).unwrap_or_default();
    let mut text = format!("{}{about}\n", bus.name);
    if found.is_empty() {
        text.push_str("  no chip responds: check wiring and power\n");
    }
    for chip in found {
        let names: Vec<&str> = chip.candidates.iter().map(|kind| kind.name()).collect();
        let description = match &chip.owner {
            Owner::Free if names.is_empty() => "no supported chip".to_owned(),
            Owner::Free => names.join(", "),
            Owner::Kernel { driver } => format!(
                "used by the kernel{}: chip = \"hwmon\" or \"iio\", device = \"{}-{:04x}\"",
                driver.as_deref().map(|driver| format!(" driver {driver}")).unwrap_or_default(),
                bus.name.trim_start_matches("i2c-"),
                chip.address,
            ),
        };
        text += &format!("  {:#04x}  {description}\n", chip.address);
    }
    text
}
