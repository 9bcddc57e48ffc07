//! Checks that every key of a sensor that its chip does not have, or with an invalid value, is refused at its location,
//! with the reason and the remedy.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use atalaya_config::Boards;
use atalaya_hal::{BusAddress, Chip, Quantity, SensorSpec};

/// Returns a board with one sensor called `s` of this chip, and these lines from line 6 on.
fn board(chip: &str, lines: &str) -> String {
    format!("[boards.b]\nbackend = \"sim\"\n[[boards.b.sensors]]\nname = \"s\"\nchip = \"{chip}\"\n{lines}\n")
}

fn accepted(chip: &str, lines: &str) -> SensorSpec {
    let boards = Boards::parse(&board(chip, lines), "b").unwrap_or_else(|error| panic!("{error}"));
    boards.boards["b"].sensors[0].spec().clone()
}

/// Asserts that the file is refused in `line`, at `offending`.
#[track_caller]
fn refused(chip: &str, lines: &str, line: usize, offending: &str, problem: &str, remedy: &str) {
    let text = board(chip, lines);
    let Err(error) = Boards::parse(&text, "b") else { panic!("accepted:\n{text}") };
    let at = error.location().unwrap();
    let column = text.lines().nth(line - 1).unwrap().find(offending).unwrap() + 1;
    assert_eq!((at.line, at.column), (line, column), "{error}");
    assert!(error.problem().contains(problem), "problem of {error}");
    assert!(error.remedy().contains(remedy), "remedy of {error}");
}

const I2C: &str = "bus = \"i2c-1\"\naddress = 0x40";
const ADS: &str = "bus = \"i2c-1\"\naddress = 0x48\nchannel = \"a0\"";
const SPI: &str = "bus = \"spi-0.0\"";

#[test]
fn keys_that_mean_nothing_to_the_chip() {
    for (chip, line, offending, problem, remedy) in [
        ("lm75", "device = \"1-0048\"", "\"1-0048\"", "is not a device of the kernel", "remove `device`"),
        ("lm75", "channel = \"temp1\"", "\"temp1\"", "`lm75` has no channels", "`channel` is for hwmon, iio"),
        (
            "lm75",
            "quantity = \"count\"",
            "\"count\"",
            "`lm75` measures `temperature` anyway",
            "remove `quantity`",
        ),
        ("lm75", "path = \"/x\"", "\"/x\"", "is not read from a file", "chip = \"file\""),
        ("lm75", "command = [\"x\"]", "[\"x\"]", "runs no program", "chip = \"command\""),
        ("lm75", "timeout = 1", "1", "runs no program", "remove `timeout`"),
        (
            "lm75",
            "topic = \"a\"",
            "\"a\"",
            "not read from an MQTT broker",
            "remove `topic`, or write chip = \"mqtt\"",
        ),
        ("file", "broker = \"mqtt://a\"", "\"mqtt://a\"", "not read from an MQTT broker", "remove `broker`"),
        ("command", "pointer = \"/a\"", "\"/a\"", "not read from an MQTT broker", "remove `pointer`"),
        ("cpu", "max_age = \"5m\"", "\"5m\"", "not read from an MQTT broker", "remove `max_age`"),
        ("lm75", "password_file = \"p\"", "\"p\"", "not read from an MQTT broker", "remove `password_file`"),
        ("mqtt", "bus = \"i2c-1\"", "\"i2c-1\"", "sits on no bus", "`broker` and `topic` say where"),
        ("mqtt", "path = \"/x\"", "\"/x\"", "is not read from a file", "remove `path`"),
        ("mqtt", "timeout = \"1s\"", "\"1s\"", "runs no program", "remove `timeout`"),
        ("random", "quantity = \"count\"", "\"count\"", "what `sim` says", "sim = {"),
        ("random", "address = 0x48", "0x48", "sits on no bus", "remove `address`"),
        ("cpu", "bus = \"i2c-1\"", "\"i2c-1\"", "sits on no bus: it is the processor", "remove `bus`"),
        ("cpu", "channel = \"temp1\"", "\"temp1\"", "has no channels", "remove `channel`"),
        ("file", "device = \"x\"", "\"x\"", "not a device", "hwmon, iio, w1 and cpu"),
        ("max31865", "address = 0x48", "0x48", "sits on SPI and has no address", "the chip select"),
        ("cpu", "settings = { gain = 2.048 }", "2.048", "no setting `gain`", "`cpu` has no settings"),
        ("lm75", "settings = { gane = 1 }", "gane", "unknown key `gane`", "did you mean `gain`?"),
        ("lm75", "settings = 1", "1", "invalid type", "a table"),
    ] {
        refused(chip, line, 6, offending, problem, remedy);
    }
}

#[test]
fn places() {
    for (chip, lines, line, offending, problem, remedy) in [
        ("max31865", "", 5, "\"max31865\"", "`bus` is missing", "bus = \"spi-0.0\""),
        ("max31865", "bus = \"i2c-1\"", 6, "\"i2c-1\"", "not an SPI bus", "\"spi-0.0\" for /dev/spidev0.0"),
        ("max31865", "bus = \"spi-0\"", 6, "\"spi-0\"", "not an SPI bus", "\"spi-0.0\""),
        ("max31865", "bus = \"spi-0.0/x\"", 6, "\"spi-0.0/x\"", "not an SPI bus", "\"spi-0.0\""),
        ("sht31", "bus = \"spi-0.0\"\naddress = 0x44", 6, "\"spi-0.0\"", "not an I²C bus", "\"i2c-1\""),
        ("aht20", "bus = \"i2c-1\"", 5, "\"aht20\"", "`address` is missing", "`address = 0x38`"),
        (
            "aht20",
            "bus = \"i2c-1\"\naddress = 0x39",
            7,
            "0x39",
            "cannot have the address 0x39",
            "its address is 0x38",
        ),
        (
            "bme280",
            "bus = \"i2c-1\"",
            5,
            "\"bme280\"",
            "`address` is missing",
            "address = 0x76`, or another of 0x76, 0x77",
        ),
    ] {
        refused(chip, lines, line, offending, problem, remedy);
    }
    let twice = |first: &str, second: &str| {
        format!("{first}\n[[boards.b.sensors]]\nname = \"t\"\nchip = \"max31865\"\n{second}")
    };
    refused(
        "max31865",
        &twice(SPI, SPI),
        10,
        "\"spi-0.0\"",
        "spi-0.0 is taken by the sensor `s` in line 4",
        "spi-0.1",
    );
    accepted("max31865", &twice(SPI, "bus = \"spi-0.1\""));
}

#[test]
fn inputs_of_one_analogue_converter_share_its_address() {
    let second = |chip: &str, channel: &str| {
        format!(
            "{ADS}\n[[boards.b.sensors]]\nname = \"t\"\nchip = \"{chip}\"\nbus = \"i2c-1\"\naddress = 0x48\n{channel}"
        )
    };
    accepted("ads1115", &second("ads1115", "channel = \"a1\""));
    accepted("ads1115", &second("ads1115", "channel = \"a0-a1\""));
    let taken = "0x48 on i2c-1 is taken by the sensor `s` in line 4";
    refused("ads1115", &second("ads1115", "channel = \"a0\""), 13, "0x48", taken, "different addresses");
    refused("ads1115", &second("lm75", ""), 13, "0x48", taken, "different addresses");
}

/// Lines of a sensor of chip `mqtt`, from line 6 on.
const MQTT: &str =
    "broker = \"mqtt://127.0.0.1\"\ntopic = \"zigbee2mqtt/kitchen\"\nquantity = \"temperature\"";

#[test]
fn topics_of_a_broker() {
    for (chip_lines, line, offending, problem, remedy) in [
        ("", 5, "\"mqtt\"", "`broker` is missing", "broker = \"mqtt://127.0.0.1:1883\""),
        ("broker = \"mqtt://a\"", 5, "\"mqtt\"", "`topic` is missing", "topic = \"zigbee2mqtt/kitchen\""),
        (
            "broker = \"a:1883\"\ntopic = \"t\"",
            6,
            "\"a:1883\"",
            "not the address of a broker",
            "\"mqtt://host:1883\"",
        ),
        ("broker = \"mqtt://u:p@a\"\ntopic = \"t\"", 6, "\"mqtt://u", "contains a user", "`password_file`"),
        (
            "broker = \"mqtt://a/t\"\ntopic = \"t\"",
            6,
            "\"mqtt://a/t\"",
            "not the address of a broker",
            "\"mqtts://",
        ),
        (
            "broker = \"mqtt://a\"\ntopic = \"a/+/b\"",
            7,
            "\"a/+/b\"",
            "not the topic of a sensor",
            "without the wildcards",
        ),
        (
            "broker = \"mqtt://a\"\ntopic = \"a/#\"",
            7,
            "\"a/#\"",
            "not the topic of a sensor",
            "without the wildcards",
        ),
        (
            "broker = \"mqtt://a\"\ntopic = \"\"",
            7,
            "\"\"",
            "not the topic of a sensor",
            "\"zigbee2mqtt/kitchen\"",
        ),
        (
            "broker = \"mqtt://a\"\ntopic = \"t\"",
            5,
            "\"mqtt\"",
            "`quantity` is missing",
            "quantity = \"temperature\"",
        ),
        (
            "broker = \"mqtt://a\"\ntopic = \"t\"\nquantity = [\"count\", \"power\"]",
            8,
            "[\"count\"",
            "one `mqtt` measures one quantity",
            "a sensor for each",
        ),
    ] {
        refused("mqtt", chip_lines, line, offending, problem, remedy);
    }
    for (key, offending, problem, remedy) in [
        ("pointer = \"temperature\"", "\"temperature\"", "is not a JSON pointer", "starts with `/`"),
        ("pointer = \"/a~b\"", "\"/a~b\"", "is not a JSON pointer", "`~1` for a `/`"),
        ("max_age = \"1ms\"", "\"1ms\"", "1ms is too short", "\"100ms\" to \"31d\""),
        ("max_age = \"soon\"", "\"soon\"", "is not a duration", "a duration such as"),
        ("password_file = \"p\"", "\"p\"", "a password without a user", "add the key `user`"),
        ("user = \" \"", "\" \"", "the value is empty", "or remove the key"),
        ("user = \"u\"\npassword_file = \"\"", "\"\"", "is not a path of a file", "write the path"),
        ("ca = \"ca.pem\"", "\"ca.pem\"", "a broker without TLS", "`mqtts://`"),
    ] {
        let lines = format!("{MQTT}\n{key}");
        let line = 5 + lines.lines().count();
        refused("mqtt", &lines, line, offending, problem, remedy);
    }
    let spec = accepted("mqtt", MQTT);
    let BusAddress::Mqtt(topic) = &spec.bus_address else { panic!("{spec:?}") };
    assert_eq!((topic.broker.as_str(), topic.max_age.as_secs()), ("mqtt://127.0.0.1:1883", 600));
    assert_eq!((spec.bus(), spec.address()), (Some("mqtt://127.0.0.1:1883"), None));
    let more = "pointer = \"\"\nmax_age = \"1h\"\nuser = \"u\"\npassword_file = \"p\"";
    let spec = accepted("mqtt", &format!("{MQTT}\n{more}"));
    let BusAddress::Mqtt(topic) = &spec.bus_address else { panic!("{spec:?}") };
    assert_eq!((topic.pointer.as_deref(), topic.max_age.as_secs()), (Some(""), 3600));
}

#[test]
fn kernel_sensors() {
    for (chip, line, offending, problem, remedy) in [
        ("hwmon", "device = \"../lm75\"", "\"../lm75\"", "not a name of a device", "without a path"),
        ("hwmon", "device = \"\"", "\"\"", "not a name of a device", "without a path"),
        ("hwmon", "channel = \"in_temp\"", "\"in_temp\"", "not a channel of hwmon", "\"temp1\""),
        (
            "hwmon",
            "channel = \"pwm1\"",
            "\"pwm1\"",
            "what does `pwm1` measure?",
            "quantity = \"temperature\"",
        ),
        ("iio", "channel = \"temp1\"", "\"temp1\"", "not a channel of iio", "\"in_temp\""),
        ("iio", "channel = \"in/temp\"", "\"in/temp\"", "not a name of a channel", "without _input"),
        ("iio", "quantity = []", "[]", "no quantity at all", "once"),
        ("iio", "quantity = [\"count\", \"count\"]", "[", "the same quantity twice", "once"),
        ("iio", "quantity = [\"cuont\"]", "\"cuont\"", "unknown name `cuont`", "did you mean `count`?"),
        ("iio", "quantity = 1", "1", "invalid type", "a quantity such as \"temperature\""),
    ] {
        refused(chip, line, 6, offending, problem, remedy);
    }
    let both = "channel = \"temp1\"\nquantity = \"humidity\"";
    refused("hwmon", both, 7, "\"humidity\"", "the channel measures temperature", "remove `quantity`");
    let several = "channel = \"in_proximity\"\nquantity = [\"count\", \"power\"]";
    refused("iio", several, 7, "[", "one `iio` measures one quantity", "a sensor for each");

    assert_eq!(accepted("hwmon", "").quantities, [Quantity::Temperature]);
    assert_eq!(accepted("hwmon", "channel = \"curr1\"").quantities, [Quantity::Current]);
    assert_eq!(
        accepted("hwmon", "channel = \"pwm1\"\nquantity = \"dimensionless\"").quantities,
        [Quantity::Dimensionless]
    );
    let air = accepted("iio", "device = \"bme280\"\nquantity = [\"pressure\", \"temperature\"]");
    assert_eq!(air.quantities, [Quantity::Pressure, Quantity::Temperature]);
    assert_eq!(air.bus_address, BusAddress::Kernel { device: Some("bme280".to_owned()), channel: None });
    assert_eq!((accepted("ds18b20", "").chip, accepted("cpu", "").chip), (Chip::W1, Chip::Cpu));
}

#[test]
fn programs_and_files() {
    let count = "quantity = \"count\"";
    for (chip, lines, line, offending, problem, remedy) in [
        ("command", count, 5, "\"command\"", "`command` is missing", "as a list"),
        ("command", "command = [\"x\"]", 5, "\"command\"", "`quantity` is missing", "add the quantity"),
        (
            "command",
            "command = []\nquantity = \"count\"",
            6,
            "[]",
            "no program",
            "the program and its arguments",
        ),
        ("command", "command = [\"\"]\nquantity = \"count\"", 6, "[\"\"]", "no program", "the program"),
        ("command", "command = \"x\"\nquantity = \"count\"", 6, "\"x\"", "invalid type", "a list"),
        ("command", "command = [\"x\"]\nquantity = \"count\"\ntimeout = 11", 8, "11", "too long", "10s"),
        (
            "command",
            "command = [\"x\"]\nquantity = \"count\"\ntimeout = 0",
            8,
            "0",
            "not positive",
            "seconds",
        ),
        (
            "command",
            "command = [\"x\"]\nquantity = [\"count\", \"power\"]",
            7,
            "[",
            "one quantity",
            "for each",
        ),
        ("file", count, 5, "\"file\"", "`path` is missing", "path = "),
        ("file", "path = \"\"\nquantity = \"count\"", 6, "\"\"", "no path", "such as"),
        ("file", "path = \"x\"", 5, "\"file\"", "`quantity` is missing", "add the quantity"),
    ] {
        refused(chip, lines, line, offending, problem, remedy);
    }
    let sim = "path = \"x\"\nquantity = \"count\"\nsim = { power = { constant = 1 } }";
    refused("file", sim, 8, "power", "`file` does not measure power", "it measures `count`");
}

#[test]
fn settings() {
    let with = |place: &str, settings: &str| format!("{place}\nsettings = {{ {settings} }}");
    for (chip, place, line, settings, offending, problem, remedy) in [
        (
            "ina219",
            I2C,
            8,
            "altitude = 5",
            "5",
            "no setting `altitude`",
            "its settings are `shunt` and `max_current`",
        ),
        ("ina219", I2C, 8, "shunt = 0", "0 }", "not positive", "above 0"),
        ("ina219", I2C, 8, "shunt = 1000", "1000", "not from 0.00001 to 100", "ohm"),
        ("ina219", I2C, 8, "max_current = 4", "4", "measures 3.2 A at most", "R100 means 0.1 ohm"),
        ("ina226", I2C, 8, "shunt = 0.01, max_current = 9", "9", "measures 8.192 A at most", "R100"),
        ("ina226", I2C, 8, "max_current = 0.0001", "0.0001", "too few steps", "0.000819"),
        ("ads1115", ADS, 9, "gain = 3.3", "3.3", "no full scale of 3.3 V", "6.144, 4.096, 2.048"),
        ("max31865", SPI, 7, "wires = 5", "5", "5 wires", "write one of 2, 3, 4"),
        ("max31865", SPI, 7, "mains = 55", "55", "55 hertz", "50, 60"),
        ("max31865", SPI, 7, "nominal = 5", "5", "not from 10", "100 for a PT100"),
        ("max31865", SPI, 7, "nominal = 1000, reference = 430", "430", "below the thermometer's", "4300"),
        (
            "scd4x",
            "bus = \"i2c-1\"\naddress = 0x62",
            8,
            "altitude = 9000",
            "9000",
            "beyond the chip's",
            "0 to 3000",
        ),
        ("scd4x", "bus = \"i2c-1\"\naddress = 0x62", 8, "altitude = nan", "nan", "NaN", "a finite number"),
    ] {
        refused(chip, &with(place, settings), line, offending, problem, remedy);
    }
    refused(
        "ads1115",
        "bus = \"i2c-1\"\naddress = 0x48",
        5,
        "\"ads1115\"",
        "which input",
        "channel = \"a0\"",
    );
    let a4 = "bus = \"i2c-1\"\naddress = 0x48\nchannel = \"a4\"";
    refused("ads1115", a4, 8, "\"a4\"", "`a4` is not an input", "`a0-a1`");

    let numbers = |config: &SensorSpec, keys: &[&str]| -> Vec<f64> {
        keys.iter().map(|key| config.settings.number(key)).collect()
    };
    let shunt = |config: SensorSpec| numbers(&config, &["shunt", "max_current"]);
    assert_eq!(shunt(accepted("ina219", I2C)), [0.1, 0.32 / 0.1]);
    let both = with(I2C, "shunt = 0.01, max_current = 8");
    assert_eq!(shunt(accepted("ina226", &both)), [0.01, 8.0]);
    let analogue = |config: SensorSpec| (config.settings.channel(), config.settings.number("gain"));
    assert_eq!(analogue(accepted("ads1115", ADS)), (Some("a0"), 2.048));
    assert_eq!(analogue(accepted("ads1115", &with(ADS, "gain = 0.256"))), (Some("a0"), 0.256));
    let rtd = |config: SensorSpec| numbers(&config, &["wires", "reference", "nominal", "mains"]);
    assert_eq!(rtd(accepted("max31865", SPI)), [2.0, 430.0, 100.0, 50.0]);
    let all = with(SPI, "wires = 3, reference = 4000, nominal = 1000, mains = 60");
    assert_eq!(rtd(accepted("max31865", &all)), [3.0, 4000.0, 1000.0, 60.0]);
    let scd = "bus = \"i2c-1\"\naddress = 0x62";
    assert_eq!(accepted("scd41", scd).settings.get("altitude"), None);
    assert_eq!(accepted("scd41", &with(scd, "altitude = 650")).settings.get("altitude"), Some(650.0));
}
