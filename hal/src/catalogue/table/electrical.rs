//! Rows of the chips that measure light, voltage, current and power.

#[doc(hidden)]
#[macro_export]
macro_rules! electrical_rows {
    ($then:ident $($rows:tt)*) => { $crate::source_rows! { $then $($rows)*

/// Vishay VEML7700.
Veml7700 { i2c, driver: veml7700::Veml7700, model: veml7700::Veml7700 } ChipSpec {
    name: "veml7700",
    about: "ambient light",
    bus: I2c { addresses: &[0x10] },
    // At gain 1/8 and 100 ms. The published driver's correction of bright light is accurate to a thousandth.
    measures: Always(&[
        Measured::new(Illuminance, 0.0, 119_000.0, 0.5376).relative_error(0.002).ambiguous(1_000.0, 1_080.0).valid_ends(true, false),
    ]),
    driver: "veml7700",
    datasheet: datasheet("Vishay", "84286", "", "https://www.vishay.com/docs/84286/veml7700.pdf"),
    pins: &[("VDD or VIN", pi::POWER), ("GND", pi::GROUND), ("SDA", pi::SDA), ("SCL", pi::SCL)],
    problems: &[
        ("`it is brighter than the chip can measure`", "More than full sunlight, from a lamp close to the chip: shade it."),
        ("The reading does not change from 1000 to 1080 lx", "Above 1000 lx the driver applies Vishay's correction, which begins with a step."),
    ],
    ..CHIP
};

/// Rohm BH1750.
Bh1750 { i2c, driver: bh1750::Bh1750, model: bh1750::Bh1750 } ChipSpec {
    name: "bh1750",
    about: "ambient light",
    bus: I2c { addresses: &[0x23, 0x5c] },
    // The driver returns one decimal.
    measures: Always(&[Measured::new(Illuminance, 0.0, 54_611.0, 0.833_333_333).error(0.468).valid_ends(true, false)]),
    driver: "bh1750",
    datasheet: datasheet("Rohm", "BH1750FVI", "", "https://www.mouser.com/datasheet/2/348/bh1750fvi-e-186247.pdf"),
    pins: &[("VCC", pi::POWER), ("GND", pi::GROUND), ("SDA", pi::SDA), ("SCL", pi::SCL),
        ("ADDR", "address: ground or open for 0x23, VCC for 0x5c")],
    problems: &[("`it is brighter than the chip can measure`", "Direct sunlight exceeds 54 612 lx: shade the chip, or use a VEML7700.")],
    ..CHIP
};

/// TI INA219.
Ina219 { i2c, driver: ina219::Ina219, model: ina219::Ina219 } ChipSpec {
    name: "ina219",
    about: "power monitor, up to 26 V",
    bus: I2c { addresses: &[0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f] },
    measures: Always(&[
        Measured::new(Voltage, 0.0, 26.0, 0.004).valid_ends(true, false),
        Measured::new(Current, -3.1999, 3.1999, 0.0001),
        Measured::power(),
    ]),
    limits: Some(checks::ina219_limits),
    driver: "ina219",
    settings: &[
        Setting::new("shunt", "resistance of the shunt, in ohm", Between(0.000_01, 100.0), Number(0.1))
            .invalid("", "write ohm, such as 0.1"),
        Setting::new("max_current", "highest valid current, in ampere", Positive,
            Computed("the highest current that the chip can measure, 0.32 / `shunt`", checks::ina219_max_current)),
    ],
    adjust: Some(checks::check_ina219),
    datasheet: datasheet("Texas Instruments", "SBOS448", "G", "https://www.ti.com/lit/ds/symlink/ina219.pdf"),
    pins: &[("VS or VCC", pi::POWER), ("GND", pi::GROUND), ("SDA", pi::SDA), ("SCL", pi::SCL),
        ("A0, A1", "address: ground for 0x40; VS, SDA and SCL select the others"),
        ("IN+ or VIN+", "the supply"), ("IN- or VIN-", "the load; the shunt is between IN+ and IN-")],
    problems: &[
        ("`choose a shunt with less resistance`", "The current exceeds 320 mV across the shunt: 3.2 A with the usual shunt of 0.1 ohm."),
        ("The current is wrong by a factor of ten or a hundred", "`shunt` must match the resistor on the board: the label R100 means 0.1 ohm, R010 means 0.01 ohm."),
        ("The current is negative", "Exchange the wires at IN+ and IN-, or add `filters = [{ scale = -1 }]`."),
    ],
    ..CHIP
};

/// TI INA226.
Ina226 { i2c, driver: ina226::Ina226, model: ina226::Ina226 } ChipSpec {
    name: "ina226",
    about: "power monitor, up to 36 V",
    bus: I2c { addresses: &[0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f] },
    measures: Always(&[
        Measured::new(Voltage, 0.0, 36.0, 0.001_25).valid_ends(true, false),
        Measured::new(Current, -0.819_15, 0.819_15, 0.000_025),
        Measured::power(),
    ]),
    limits: Some(checks::ina226_limits),
    driver: "embedded-devices",
    settings: &[
        Setting::new("shunt", "resistance of the shunt, in ohm", Between(0.000_01, 100.0), Number(0.1))
            .invalid("", "write ohm, such as 0.1"),
        Setting::new("max_current", "highest valid current, in ampere", Positive,
            Computed("the highest current that the chip can measure, 0.08192 / `shunt`", checks::ina226_max_current)),
    ],
    adjust: Some(checks::check_ina226),
    datasheet: datasheet("Texas Instruments", "SBOS547", "A", "https://www.ti.com/lit/ds/symlink/ina226.pdf"),
    pins: &[("VS", pi::POWER), ("GND", pi::GROUND), ("SDA", pi::SDA), ("SCL", pi::SCL),
        ("A0, A1", "address: ground for 0x40; VS, SDA and SCL select the others"),
        ("IN+, IN-", "both ends of the shunt"), ("VBUS", "the voltage to measure"), ("ALERT", "open")],
    problems: &[
        ("`choose a shunt with less resistance`", "The current exceeds 81.92 mV across the shunt: 0.8 A with a shunt of 0.1 ohm."),
        ("The voltage reads 0 V", "VBUS is a pin of its own: connect it to the load."),
        ("The current is wrong by a factor of ten or a hundred", "`shunt` must match the resistor on the board: the label R100 means 0.1 ohm, R010 means 0.01 ohm."),
    ],
    ..CHIP
};

/// TI ADS1115.
Ads1115 { i2c, driver: ads1115::Ads1115, model: ads1115::Ads1115 } ChipSpec {
    name: "ads1115",
    about: "analogue inputs, 16 bits",
    bus: I2c { addresses: &[0x48, 0x49, 0x4a, 0x4b] },
    measures: Always(&[Measured::new(Voltage, -2.047_937_5, 2.047_875, 0.000_062_5)]),
    limits: Some(checks::ads1115_limits),
    channels: &["a0", "a1", "a2", "a3", "a0-a1", "a0-a3", "a1-a3", "a2-a3"],
    driver: "ads1x1x",
    settings: &[Setting::new("gain", "full scale, in volt", OneOf(&[6.144, 4.096, 2.048, 1.024, 0.512, 0.256]), Number(2.048))
        .invalid("an ADS1115 has no full scale of {} V", "")],
    datasheet: datasheet("Texas Instruments", "SBAS444", "D", "https://www.ti.com/lit/ds/symlink/ads1115.pdf"),
    pins: &[("VDD", pi::POWER), ("GND", pi::GROUND), ("SDA", pi::SDA), ("SCL", pi::SCL),
        ("ADDR", "address: ground for 0x48, VDD for 0x49, SDA for 0x4a, SCL for 0x4b"),
        ("AIN0 to AIN3", "the voltages to measure, from 0 V to VDD"), ("ALERT/RDY", "open")],
    problems: &[
        ("`choose a larger gain`", "The voltage exceeds the full scale: write for example `settings = { gain = 4.096 }`."),
        ("The reading ends below the full scale", "An input accepts at most VDD, whatever the gain: use a divider, and `filters = [{ scale = 2 }]`."),
        ("An open input reads about 0.6 V", "Inputs float when nothing is connected: connect unused inputs to ground."),
    ],
    ..CHIP
};

    } };
}
