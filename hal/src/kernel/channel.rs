//! Names of kernel channels, and the quantities that they determine.

use crate::reading::Quantity;

/// Returns the quantity of a kernel channel with this name: `temp1` of hwmon, `in_humidityrelative` of IIO. None if the
/// name does not determine the quantity.
pub fn channel_quantity(channel: &str) -> Option<Quantity> {
    let kinds: &[(&str, Quantity)] = match channel.strip_prefix("in_") {
        // IIO names the inputs of a device in_KIND, in_KIND0, in_KIND_PLACE.
        Some(_) => &[
            ("in_temp", Quantity::Temperature),
            ("in_humidityrelative", Quantity::Humidity),
            ("in_pressure", Quantity::Pressure),
            ("in_voltage", Quantity::Voltage),
            ("in_current", Quantity::Current),
            ("in_power", Quantity::Power),
            ("in_illuminance", Quantity::Illuminance),
            ("in_concentration", Quantity::Concentration),
        ],
        None => &[
            ("temp", Quantity::Temperature),
            ("humidity", Quantity::Humidity),
            ("in", Quantity::Voltage),
            ("curr", Quantity::Current),
            ("power", Quantity::Power),
            ("fan", Quantity::Count),
        ],
    };
    let fits = |kind: &str| {
        let rest = channel.strip_prefix(kind);
        rest.is_some_and(|rest| rest.starts_with(|c: char| !c.is_ascii_lowercase()) || rest.is_empty())
    };
    kinds.iter().find(|(kind, _)| fits(kind)).map(|(_, quantity)| *quantity)
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
