//! Rows of the thermometers.

#[doc(hidden)]
#[macro_export]
macro_rules! thermometer_rows {
    ($then:ident $($rows:tt)*) => { $crate::air_rows! { $then $($rows)*

/// National/TI LM75, LM75B, LM75C.
Lm75 { i2c, driver: lm75::Lm75, model: lm75::Lm75 } ChipSpec {
    name: "lm75",
    about: "thermometer, steps of 0.5 °C",
    bus: I2c { addresses: &[0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f] },
    measures: Always(&[Measured::new(Temperature, -55.0, 125.0, 0.5)]),
    driver: "lm75",
    tested: "emulated Pi, simulated registers, mock transactions",
    datasheet: datasheet("Texas Instruments", "SNIS153", "D", "https://www.ti.com/lit/ds/symlink/lm75b.pdf"),
    pins: &[("+VS", pi::POWER), ("GND", pi::GROUND), ("SDA", pi::SDA), ("SCL", pi::SCL),
        ("A0, A1, A2", "bits 0 to 2 of the address: ground for 0, +VS for 1"), ("O.S.", "open")],
    problems: &[("The reading changes in steps of half a degree", "This is the resolution of the chip: use a TMP102 or TMP117, or smooth with `filters = [{ mean = 10 }]`.")],
    ..CHIP
};

/// LM75A.
Lm75a { i2c, driver: lm75::Lm75, model: lm75::Lm75 } ChipSpec {
    name: "lm75a",
    about: "thermometer, read as an LM75",
    bus: I2c { addresses: &[0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f] },
    measures: Always(&[Measured::new(Temperature, -55.0, 125.0, 0.5)]),
    driver: "lm75",
    datasheet: datasheet("NXP", "LM75A", "", "https://www.nxp.com/docs/en/data-sheet/LM75A.pdf"),
    pins: &[("VCC", pi::POWER), ("GND", pi::GROUND), ("SDA", pi::SDA), ("SCL", pi::SCL),
        ("A0, A1, A2", "bits 0 to 2 of the address: ground for 0, VCC for 1"), ("OS", "open")],
    problems: &[("The reading changes in steps of half a degree", "The driver reads nine bits, as of an LM75. NXP's LM75A has eleven, of which the driver ignores two.")],
    ..CHIP
};

/// TI TMP102.
Tmp102 { i2c, driver: tmp102::Tmp102, model: tmp102::Tmp102 } ChipSpec {
    name: "tmp102",
    about: "thermometer, steps of 0.0625 °C",
    bus: I2c { addresses: &[0x48, 0x49, 0x4a, 0x4b] },
    measures: Always(&[Measured::new(Temperature, -40.0, 125.0, 0.0625)]),
    driver: "tmp1x2",
    datasheet: datasheet("Texas Instruments", "SBOS397", "F", "https://www.ti.com/lit/ds/symlink/tmp102.pdf"),
    pins: &[("V+", pi::POWER), ("GND", pi::GROUND), ("SDA", pi::SDA), ("SCL", pi::SCL),
        ("ADD0", "address: ground for 0x48, V+ for 0x49, SDA for 0x4a, SCL for 0x4b"), ("ALERT", "open")],
    problems: &[("The chip warms up", "V+ is at most 3.6 V: do not connect it to 5 V.")],
    ..CHIP
};

/// TI TMP105.
Tmp105 { i2c, driver: lm75::Lm75, model: lm75::Lm75 } ChipSpec {
    name: "tmp105",
    about: "thermometer, read as an LM75",
    bus: I2c { addresses: &[0x48, 0x49] },
    measures: Always(&[Measured::new(Temperature, -40.0, 125.0, 0.5)]),
    driver: "lm75",
    tested: "emulated Pi, simulated registers, mock transactions",
    datasheet: datasheet("Texas Instruments", "SBOS648", "", "https://www.ti.com/lit/ds/symlink/tmp105.pdf"),
    pins: &[("V+", pi::POWER), ("GND", pi::GROUND), ("SDA", pi::SDA), ("SCL", pi::SCL),
        ("A0", "bit 0 of the address: ground for 0x48, V+ for 0x49"), ("ALERT", "open")],
    problems: &[("The reading changes in steps of half a degree", "The driver reads nine bits, the resolution after power-up.")],
    ..CHIP
};

/// TI TMP117.
Tmp117 { i2c, driver: tmp117::Tmp117, model: tmp117::Tmp117 } ChipSpec {
    name: "tmp117",
    about: "precise thermometer, ±0.1 °C",
    bus: I2c { addresses: &[0x48, 0x49, 0x4a, 0x4b] },
    measures: Always(&[Measured::new(Temperature, -55.0, 150.0, 0.007_812_5)]),
    driver: "embedded-devices",
    datasheet: datasheet("Texas Instruments", "SNOSD82", "B", "https://www.ti.com/lit/ds/symlink/tmp117.pdf"),
    pins: &[("V+", pi::POWER), ("GND", pi::GROUND), ("SDA", pi::SDA), ("SCL", pi::SCL),
        ("ADD0", "address: ground for 0x48, V+ for 0x49, SDA for 0x4a, SCL for 0x4b"), ("ALERT", "open")],
    problems: &[
        ("`impossible value ... -256 Cel` in the first second", "The chip has not converted yet; it converts once a second."),
        ("The reading is too high by tenths of a degree", remedy::SELF_HEATING),
    ],
    ..CHIP
};

/// Microchip MCP9808.
Mcp9808 { i2c, driver: mcp9808::Mcp9808, model: mcp9808::Mcp9808 } ChipSpec {
    name: "mcp9808",
    about: "thermometer, ±0.25 °C",
    bus: I2c { addresses: &[0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f] },
    measures: Always(&[Measured::new(Temperature, -40.0, 125.0, 0.0625)]),
    driver: "embedded-devices",
    datasheet: datasheet("Microchip", "DS25095", "A", "https://ww1.microchip.com/downloads/en/DeviceDoc/25095A.pdf"),
    pins: &[("VDD", pi::POWER), ("GND", pi::GROUND), ("SDA", pi::SDA), ("SCL", pi::SCL),
        ("A0, A1, A2", "bits 0 to 2 of the address: ground for 0, VDD for 1"), ("ALERT", "open")],
    problems: &[("The reading is too high by tenths of a degree", remedy::SELF_HEATING)],
    ..CHIP
};

/// Melexis MLX90614.
Mlx90614 { i2c, driver: mlx90614::Mlx90614, model: mlx90614::Mlx90614 } ChipSpec {
    name: "mlx90614",
    about: "infrared thermometer without contact",
    bus: I2c { addresses: &[0x5a, 0x5b, 0x5c, 0x5d] },
    measures: Always(&[Measured::new(Temperature, -70.0, 380.0, 0.02).error(0.010_001)]),
    limits: Some(|settings, measured| match settings.channel() {
        Some("ambient") => Measured { min: -40.0, max: 125.0, ..measured },
        _ => measured,
    }),
    channels: &["object1", "object2", "ambient"],
    driver: "mlx9061x",
    checksum: Checksum::Other,
    datasheet: datasheet("Melexis", "3901090614", "8", "https://www.melexis.com/en/documents/documentation/datasheets/datasheet-mlx90614"),
    pins: &[("VDD or VIN", pi::POWER), ("VSS or GND", pi::GROUND), ("PWM/SDA", pi::SDA), ("SCL/VZ", pi::SCL)],
    problems: &[
        ("`no acknowledge`", "The address is in the EEPROM of the chip, 0x5a from the factory. Chips for 5 V (MLX90614A...) need 5 V; their lines tolerate 3.3 V."),
        ("`object2` is out of range", "Only chips with two zones (MLX90614xBx) measure it."),
        ("The temperature of metal is too low", "The chip assumes an emissivity of 1: cover the metal with tape or matt paint, or calibrate with `filters = [{ linear = [[measured, actual], [measured, actual]] }]`."),
    ],
    ..CHIP
};

/// Analog Devices MAX31865, on SPI.
Max31865 { spi, driver: max31865::Max31865, model: max31865::Max31865 } ChipSpec {
    name: "max31865",
    about: "PT100 and PT1000 thermometers",
    bus: Spi,
    // The step is 0.034 °C at 0 °C and 0.046 °C at 850 °C.
    measures: Always(&[Measured::new(Temperature, -200.0, 850.0, 0.034).error(0.03)]),
    driver: "embedded-devices",
    settings: &[
        Setting::new("wires", "wires to the thermometer", OneOf(&[2.0, 3.0, 4.0]), Number(2.0))
            .invalid("{} wires to the thermometer", ""),
        Setting::new("nominal", "resistance of the thermometer at 0 °C, in ohm", Between(10.0, 10_000.0), Number(100.0))
            .invalid("", "write ohm: 100 for a PT100, 1000 for a PT1000"),
        Setting::new("reference", "reference resistor of the board, in ohm", Between(10.0, 100_000.0),
            Computed("4.3 × `nominal`", checks::rtd_reference)).invalid("", "write ohm, about 4.3 times `nominal`"),
        Setting::new("mains", "frequency of the mains to filter out, in hertz", OneOf(&[50.0, 60.0]), Number(50.0))
            .invalid("{} hertz of mains", ""),
    ],
    adjust: Some(checks::check_rtd),
    datasheet: datasheet("Analog Devices", "19-6478", "3", "https://www.analog.com/media/en/technical-documentation/data-sheets/MAX31865.pdf"),
    pins: &[("VIN or VDD", pi::POWER), ("GND", pi::GROUND), ("CLK or SCLK", "GPIO 11, SCLK (pin 23)"),
        ("SDO", "GPIO 9, MISO (pin 21)"), ("SDI", "GPIO 10, MOSI (pin 19)"), ("CS", "GPIO 8, CE0 (pin 24) for `spi-0.0`, GPIO 7, CE1 (pin 26) for `spi-0.1`"),
        ("F+, RTD+, RTD-, F-", "the thermometer; boards have solder bridges for two, three or four wires")],
    problems: &[
        ("`the chip does not keep its settings`", "SPI has no acknowledge, so this means an absent chip: check the wires, the chip select and `dtparam=spi=on`."),
        ("`an open wire` or `a short circuit`", "Check the thermometer, and the solder bridges against `wires`."),
        ("The reading is wrong by tens of degrees", "`nominal` and `reference` must match the thermometer and the resistor on the board: 430 ohm for a PT100, 4300 ohm for a PT1000."),
    ],
    ..CHIP
};

    } };
}
