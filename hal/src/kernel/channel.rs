//! Names of kernel channels, and the quantities that they determine.

use super::{hwmon, iio};
use crate::reading::Quantity;

/// Returns the quantity of a kernel channel with this name: `temp1` of hwmon, `in_humidityrelative` of IIO. None if the
/// name does not determine the quantity.
pub fn channel_quantity(channel: &str) -> Option<Quantity> {
    let fits = |kind: &str| {
        let rest = channel.strip_prefix(kind);
        rest.is_some_and(|rest| rest.starts_with(|c: char| !c.is_ascii_lowercase()) || rest.is_empty())
    };
    // IIO names the inputs of a device in_KIND, in_KIND0, in_KIND_PLACE.
    let kinds = if channel.starts_with("in_") { &iio::TYPES[..] } else { &hwmon::KINDS };
    kinds.iter().find(|(kind, ..)| fits(kind)).map(|(_, quantity, _)| *quantity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_channel_tells_what_it_measures() {
        let table = [
            ("temp1", Some(Quantity::Temperature)),
            ("in0", Some(Quantity::Voltage)),
            ("curr12", Some(Quantity::Current)),
            ("power1", Some(Quantity::Power)),
            ("humidity1", Some(Quantity::Humidity)),
            ("fan2", Some(Quantity::Count)),
            ("intrusion0", None),
            ("temperature", None),
            ("in_temp", Some(Quantity::Temperature)),
            ("in_temp_object", Some(Quantity::Temperature)),
            ("in_humidityrelative", Some(Quantity::Humidity)),
            ("in_voltage3", Some(Quantity::Voltage)),
            ("in_voltage0-voltage1", Some(Quantity::Voltage)),
            ("in_concentration_co2", Some(Quantity::Concentration)),
            ("in_illuminance0", Some(Quantity::Illuminance)),
            ("in_powerfactor", None),
            ("in_proximity", None),
            ("", None),
        ];
        for (channel, quantity) in table {
            assert_eq!(channel_quantity(channel), quantity, "{channel}");
        }
    }
}
