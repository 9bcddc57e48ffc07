//! Rows of the chips that measure air: temperature, humidity, pressure, carbon dioxide.

#[doc(hidden)]
#[macro_export]
macro_rules! air_rows {
    ($then:ident $($rows:tt)*) => { $crate::electrical_rows! { $then $($rows)*

/// Bosch BME280.
Bme280 { i2c, driver: bme280::Bme280, model: bme280::Bme280 } ChipSpec {
    name: "bme280",
    about: "air: temperature, humidity, pressure",
    bus: I2c { addresses: &[0x76, 0x77] },
    // The error contains the rounding of Bosch's integer arithmetic.
    measures: Always(&[
        Measured::new(Temperature, -40.0, 85.0, 0.005).error(0.01),
        Measured::new(Humidity, 0.0, 100.0, 0.008).error(0.02),
        Measured::new(Pressure, 30_000.0, 110_000.0, 2.62).error(3.0),
    ]),
    driver: "embedded-devices",
    datasheet: datasheet("Bosch Sensortec", "BST-BME280-DS002", "", "https://www.bosch-sensortec.com/media/boschsensortec/downloads/datasheets/bst-bme280-ds002.pdf"),
    pins: &[("VDD, VDDIO or VIN", pi::POWER), ("GND", pi::GROUND), ("SDI or SDA", pi::SDA), ("SCK or SCL", pi::SCL),
        ("SDO", "address: ground for 0x76, VDDIO for 0x77"), ("CSB", "VDDIO, or open on modules")],
    problems: &[
        ("`this is a BMP280, without humidity`", "Many modules with the label BME280 carry a BMP280: write `chip = \"bmp280\"`."),
        ("The temperature is too high", remedy::SELF_HEATING),
    ],
    ..CHIP
};

/// Bosch BMP280.
Bmp280 { i2c, driver: bme280::Bmp280, model: bme280::Bme280 } ChipSpec {
    name: "bmp280",
    about: "air: temperature, pressure",
    bus: I2c { addresses: &[0x76, 0x77] },
    measures: Always(&[
        Measured::new(Temperature, -40.0, 85.0, 0.005).error(0.01),
        Measured::new(Pressure, 30_000.0, 110_000.0, 2.62).error(3.0),
    ]),
    driver: "embedded-devices",
    datasheet: datasheet("Bosch Sensortec", "BST-BMP280-DS001", "1.19", "https://www.bosch-sensortec.com/media/boschsensortec/downloads/datasheets/bst-bmp280-ds001.pdf"),
    pins: &[("VDD, VDDIO or VCC", pi::POWER), ("GND", pi::GROUND), ("SDI or SDA", pi::SDA), ("SCK or SCL", pi::SCL),
        ("SDO", "address: ground for 0x76, VDDIO for 0x77"), ("CSB", "VDDIO, or open on modules")],
    problems: &[("`another chip: its id is ...`", remedy::WRONG_ID), ("The temperature is too high", remedy::SELF_HEATING)],
    ..CHIP
};

/// Bosch BMP390.
Bmp390 { i2c, driver: bmp390::Bmp390, model: bmp390::Bmp390 } ChipSpec {
    name: "bmp390",
    aliases: &["bmp388"],
    about: "barometer",
    bus: I2c { addresses: &[0x76, 0x77] },
    measures: Always(&[
        Measured::new(Temperature, -40.0, 85.0, 0.005).error(0.01),
        Measured::new(Pressure, 30_000.0, 125_000.0, 2.64).error(3.0),
    ]),
    driver: "embedded-devices",
    datasheet: datasheet("Bosch Sensortec", "BST-BMP390-DS002", "", "https://www.bosch-sensortec.com/media/boschsensortec/downloads/datasheets/bst-bmp390-ds002.pdf"),
    pins: &[("VDD, VDDIO or VIN", pi::POWER), ("GND", pi::GROUND), ("SDI or SDA", pi::SDA), ("SCK or SCL", pi::SCL),
        ("SDO", "address: ground for 0x76, VDDIO for 0x77"), ("CSB, INT", "open on modules; CSB to VDDIO on the chip")],
    problems: &[("`another chip: its id is ...`", remedy::WRONG_ID)],
    ..CHIP
};

/// Sensirion SHT30, SHT31 and SHT35.
Sht3x { i2c, driver: sht3x::Sht3x, model: sht3x::Sht3x } ChipSpec {
    name: "sht3x",
    aliases: &["sht30", "sht31", "sht35"],
    about: "air: temperature, humidity",
    bus: I2c { addresses: &[0x44, 0x45] },
    // The driver returns four decimals.
    measures: Always(&[
        Measured::new(Temperature, -40.0, 125.0, 0.002_67).error(0.001_387),
        Measured::new(Humidity, 0.0, 100.0, 0.001_53).error(0.000_814).valid_ends(true, true),
    ]),
    driver: "sensirion-i2c",
    checksum: Checksum::Crc8,
    datasheet: datasheet("Sensirion", "SHT3x-DIS", "5", "https://sensirion.com/products/catalog/SHT31-DIS-B"),
    pins: &[("VDD", pi::POWER), ("VSS", pi::GROUND), ("SDA", pi::SDA), ("SCL", pi::SCL),
        ("ADDR", "address: ground for 0x44, VDD for 0x45"), ("nRESET, ALERT", "open")],
    problems: &[
        ("`its heater was on`", "Another program switched the heater on. The driver has switched it off; the readings continue when the chip is cool."),
        ("The humidity stays at 100 %RH", remedy::CONDENSATION),
    ],
    ..CHIP
};

/// Sensirion SHT40, SHT41, SHT43 and SHT45.
Sht4x { i2c, driver: sht4x::Sht4x, model: sht4x::Sht4x } ChipSpec {
    name: "sht4x",
    aliases: &["sht40", "sht41", "sht43", "sht45"],
    about: "air: temperature, humidity",
    bus: I2c { addresses: &[0x44, 0x45, 0x46] },
    // The published driver truncates the fraction of the code at 2^-16: up to a step too low.
    measures: Always(&[
        Measured::new(Temperature, -40.0, 125.0, 0.002_67).error(0.004_272),
        Measured::new(Humidity, 0.0, 100.0, 0.001_91).error(0.003_051),
    ]),
    driver: "sht4x",
    checksum: Checksum::Crc8,
    datasheet: datasheet("Sensirion", "SHT4x", "", "https://sensirion.com/products/catalog/SHT40"),
    pins: &[("VDD", pi::POWER), ("VSS", pi::GROUND), ("SDA", pi::SDA), ("SCL", pi::SCL)],
    problems: &[
        ("`no acknowledge` with an SHT40", "The part number contains the address: SHT40-AD1B has 0x44, -BD1B 0x45, -CD1B 0x46."),
        ("The humidity stays at 100 %RH", remedy::CONDENSATION),
    ],
    ..CHIP
};

/// Sensirion SHTC3.
Shtc3 { i2c, driver: shtc3::Shtc3, model: shtc3::Shtc3 } ChipSpec {
    name: "shtc3",
    about: "air: temperature, humidity",
    bus: I2c { addresses: &[0x70] },
    // The published driver computes in thousandths; 100 % is one step above the last code.
    measures: Always(&[
        Measured::new(Temperature, -40.0, 125.0, 0.002_67).error(0.002_336),
        Measured::new(Humidity, 0.0, 100.0, 0.001_53).error(0.002_526).valid_ends(true, true),
    ]),
    driver: "shtcx",
    checksum: Checksum::Crc8,
    datasheet: datasheet("Sensirion", "SHTC3", "", "https://sensirion.com/products/catalog/SHTC3"),
    pins: &[("VDD", pi::POWER), ("VSS", pi::GROUND), ("SDA", pi::SDA), ("SCL", pi::SCL)],
    problems: &[
        ("The chip does not appear in `atalaya sensors scan`", "It sleeps between measurements and does not answer then. Configure it without the scan."),
        ("`0x70` answers without an SHTC3", "A multiplexer such as the TCA9548A has the same address."),
    ],
    ..CHIP
};

/// TE Connectivity HTU21D, Silicon Labs SI7021, Sensirion SHT20, SHT21 and SHT25.
Htu21d { i2c, driver: htu21d::Htu21d, model: htu21d::Htu21d } ChipSpec {
    name: "htu21d",
    aliases: &["si7021", "sht20", "sht21", "sht25"],
    about: "air: temperature, humidity",
    bus: I2c { addresses: &[0x40] },
    measures: Always(&[
        Measured::new(Temperature, -40.0, 125.0, 0.010_725),
        Measured::new(Humidity, 0.0, 100.0, 0.030_518),
    ]),
    driver: "atalaya-hal",
    checksum: Checksum::Other,
    datasheet: datasheet("TE Connectivity", "HPC199", "5", "https://www.te.com/usa-en/product-CAT-HSC0004.html"),
    pins: &[("VDD or VIN", pi::POWER), ("GND", pi::GROUND), ("DATA or SDA", pi::SDA), ("SCK or SCL", pi::SCL)],
    problems: &[
        ("`0x40` is taken", "An INA219 or INA226 has the same address by default: change its address, because that of this chip is fixed."),
        ("`its heater was on`", "Another program switched the heater on. The driver has switched it off; the readings continue when the chip is cool."),
        ("The humidity stays at 100 %RH", remedy::CONDENSATION),
    ],
    ..CHIP
};

/// Aosong AHT20.
Aht20 { i2c, driver: aht20::Aht20, model: aht20::Aht20 } ChipSpec {
    name: "aht20",
    about: "air: temperature, humidity",
    bus: I2c { addresses: &[0x38] },
    // The driver returns four decimals; 100 % is one step above the last code.
    measures: Always(&[
        Measured::new(Temperature, -40.0, 85.0, 0.000_19).error(0.000_147),
        Measured::new(Humidity, 0.0, 100.0, 0.000_095).error(0.000_147).valid_ends(true, true),
    ]),
    driver: "embedded-aht20",
    checksum: Checksum::Crc8,
    datasheet: datasheet("Aosong", "AHT20", "", "http://www.aosong.com/en/products-32.html"),
    pins: &[("VDD", pi::POWER), ("GND", pi::GROUND), ("SDA", pi::SDA), ("SCL", pi::SCL)],
    problems: &[
        ("`the chip stays busy`", "The chip does not finish its measurement: check its power supply, and switch it off and on."),
        ("`wrong checksum` from an AHT10", "An AHT10 sends no checksum; this driver needs an AHT20, AHT21 or AHT25."),
    ],
    ..CHIP
};

/// Sensirion SCD40 and SCD41.
Scd4x { i2c, driver: scd4x::Scd4x, model: scd4x::Scd4x } ChipSpec {
    name: "scd4x",
    aliases: &["scd40", "scd41"],
    about: "air: CO₂, temperature, humidity",
    bus: I2c { addresses: &[0x62] },
    measures: Always(&[
        Measured::new(Concentration, 400.0, 5_000.0, 1.0),
        Measured::new(Temperature, -10.0, 60.0, 0.002_67).error(0.001_387),
        Measured::new(Humidity, 0.0, 100.0, 0.001_53).error(0.000_814).valid_ends(true, true),
    ]),
    driver: "scd4x",
    settings: &[Setting::new("altitude", "altitude above sea level, in metres", Between(0.0, 3_000.0),
        Unset("the value stored in the chip"))
        .invalid("an altitude of {} m is beyond the chip's", "write metres above the sea, from 0 to 3000")],
    checksum: Checksum::Crc8,
    first_reading: Duration::from_secs(5),
    datasheet: datasheet("Sensirion", "SCD4x", "", "https://sensirion.com/products/catalog/SCD41"),
    pins: &[("VDD", pi::POWER), ("GND", pi::GROUND), ("SDA", pi::SDA), ("SCL", pi::SCL)],
    problems: &[
        ("`just started: its first measurement takes five seconds`", "The chip measures every five seconds after the first read has started it."),
        ("The chip resets or reads drop", "Its infrared lamp takes up to 205 mA for a moment: use a supply with short wires."),
        ("The CO₂ value is too high after weeks", "The chip calibrates itself on fresh air (about 400 ppm), which it must see once a week."),
    ],
    ..CHIP
};

    } };
}
