//! Home Assistant's device classes and units for our units.

/// Unit as named by SenML, device class, and the unit as Home Assistant names it. A device class accepts only the units of
/// <https://developers.home-assistant.io/docs/core/entity/sensor#available-device-classes>.
const UNITS: [(&str, Option<&str>, Option<&str>); 24] = [
    // Units of our quantities.
    ("Cel", Some("temperature"), Some("°C")),
    ("%RH", Some("humidity"), Some("%")),
    ("Pa", Some("pressure"), Some("Pa")),
    ("V", Some("voltage"), Some("V")),
    ("A", Some("current"), Some("A")),
    ("W", Some("power"), Some("W")),
    ("lx", Some("illuminance"), Some("lx")),
    // The class `carbon_dioxide` needs to know the gas.
    ("ppm", None, Some("ppm")),
    ("count", None, None),
    ("/", None, None),
    // Units of other nodes, for averages.
    ("K", Some("temperature"), Some("K")),
    ("hPa", Some("pressure"), Some("hPa")),
    ("kPa", Some("pressure"), Some("kPa")),
    ("mV", Some("voltage"), Some("mV")),
    ("mA", Some("current"), Some("mA")),
    ("kW", Some("power"), Some("kW")),
    ("VA", Some("apparent_power"), Some("VA")),
    ("Hz", Some("frequency"), Some("Hz")),
    ("m", Some("distance"), Some("m")),
    ("m/s", Some("speed"), Some("m/s")),
    ("W/m2", Some("irradiance"), Some("W/m²")),
    ("kg", Some("weight"), Some("kg")),
    ("dBm", Some("signal_strength"), Some("dBm")),
    ("%EL", Some("battery"), Some("%")),
];

/// Chips whose concentration is that of carbon dioxide.
const CO2_CHIPS: [&str; 1] = ["scd4x"];

/// Device class and unit of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class<'a> {
    pub(super) device_class: Option<&'a str>,
    pub(super) unit: Option<&'a str>,
}

/// Returns device class and unit for a unit. A unit that Home Assistant does not know has no class and keeps its name.
pub(super) fn class_of(unit: Option<&str>) -> Class<'_> {
    let Some(unit) = unit else { return Class { device_class: None, unit: None } };
    match UNITS.iter().find(|(senml, ..)| *senml == unit) {
        Some((_, device_class, unit)) => Class { device_class: *device_class, unit: *unit },
        None => Class { device_class: None, unit: Some(unit) },
    }
}

/// Returns device class and unit for a quantity with this unit, measured by this chip.
pub(super) fn class_of_sensor<'a>(unit: &'a str, chip: &str) -> Class<'a> {
    match class_of(Some(unit)) {
        Class { unit: Some("ppm"), .. } if CO2_CHIPS.contains(&chip) => {
            Class { device_class: Some("carbon_dioxide"), unit: Some("ppm") }
        }
        class => class,
    }
}

#[cfg(test)]
mod tests {
    use atalaya_hal::Quantity;

    use super::*;

    /// Units that Home Assistant allows for a device class, and whether it allows the state class `measurement`: the tables
    /// DEVICE_CLASS_UNITS and DEVICE_CLASS_STATE_CLASSES of
    /// <https://github.com/home-assistant/core/blob/dev/homeassistant/components/sensor/const.py>, the classes above only.
    const ALLOWED: [(&str, &[&str]); 16] = [
        ("apparent_power", &["VA"]),
        ("battery", &["%"]),
        ("carbon_dioxide", &["ppm"]),
        ("current", &["A", "mA"]),
        ("distance", &["km", "m", "cm", "mm", "mi", "nmi", "yd", "in"]),
        ("frequency", &["Hz", "kHz", "MHz", "GHz"]),
        ("humidity", &["%"]),
        ("illuminance", &["lx"]),
        ("irradiance", &["W/m²", "BTU/(h⋅ft²)"]),
        ("power", &["W", "kW", "MW", "GW", "TW"]),
        ("pressure", &["Pa", "hPa", "kPa", "bar", "cbar", "mbar", "mmHg", "inHg", "psi"]),
        ("signal_strength", &["dB", "dBm"]),
        ("speed", &["ft/s", "in/d", "in/h", "km/h", "kn", "m/s", "mph", "mm/d", "mm/s"]),
        ("temperature", &["°C", "°F", "K"]),
        ("voltage", &["V", "mV", "µV", "kV", "MV"]),
        ("weight", &["kg", "g", "mg", "µg", "oz", "lb", "st"]),
    ];

    #[test]
    fn device_classes_have_units_that_home_assistant_allows() {
        let mut classes: Vec<Class<'_>> = UNITS.iter().map(|(senml, ..)| class_of(Some(senml))).collect();
        classes.push(class_of_sensor("ppm", "scd4x"));
        for Class { device_class, unit } in classes {
            let Some(class) = device_class else { continue };
            let (_, allowed) = ALLOWED.iter().find(|(known, _)| *known == class).expect(class);
            assert!(unit.is_some_and(|unit| allowed.contains(&unit)), "{class} has no unit {unit:?}");
        }
    }

    #[test]
    fn every_quantity_and_every_unit_is_in_the_table_once() {
        for quantity in Quantity::ALL {
            assert!(UNITS.iter().any(|(senml, ..)| *senml == quantity.unit()), "{quantity}");
        }
        for (i, (senml, ..)) in UNITS.iter().enumerate() {
            assert!(!UNITS[i + 1..].iter().any(|(other, ..)| other == senml), "{senml}");
        }
    }

    #[test]
    fn units_outside_the_table_keep_their_name() {
        assert_eq!(class_of(Some("mol")), Class { device_class: None, unit: Some("mol") });
        assert_eq!(class_of(None), Class { device_class: None, unit: None });
        assert_eq!(class_of_sensor("ppm", "file"), Class { device_class: None, unit: Some("ppm") });
    }
}
