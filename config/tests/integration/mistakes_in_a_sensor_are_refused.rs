//! Checks that every key of a sensor that its chip does not have, or with an invalid value, is refused at its location,
//! with the reason and the remedy.

use atalaya_config::Boards;
use atalaya_hal::{BusAddress, Chip, Quantity, SensorSpec};

use crate::marked::assert_refused;

/// Returns a board with one sensor called `s` of this chip, and these lines from line 6 on, separated by `; `.
fn board(chip: &str, lines: &str) -> String {
    let lines = lines.replace("; ", "\n");
    format!("[boards.b]\nbackend = \"sim\"\n[[boards.b.sensors]]\nname = \"s\"\nchip = \"{chip}\"\n{lines}\n")
}

fn accepted(chip: &str, lines: &str) -> SensorSpec {
    let boards = Boards::parse(&board(chip, lines), "b").unwrap_or_else(|error| panic!("{error}"));
    boards.boards["b"].sensors[0].spec().clone()
}

/// Asserts that the file is refused at the mark, which is in the lines or around the name of the chip.
#[track_caller]
fn refused(chip: &str, lines: &str, problem: &str, remedy: &str) {
    let marked = board(chip, lines).replace("\"«", "«\"").replace("»\"", "\"»");
    assert_refused(&marked, problem, remedy);
}

const I2C: &str = "bus = \"i2c-1\"\naddress = 0x40";
const ADS: &str = "bus = \"i2c-1\"\naddress = 0x48\nchannel = \"a0\"";
const SPI: &str = "bus = \"spi-0.0\"";

#[test]
fn keys_that_mean_nothing_to_the_chip() {
    for (chip, lines, problem, remedy) in [
        ("lm75", r#"device = «"1-0048"»"#, "is not a device of the kernel", "remove `device`"),
        ("lm75", r#"channel = «"temp1"»"#, "`lm75` has no channels", "`channel` is for hwmon, iio"),
        ("lm75", r#"quantity = «"count"»"#, "`lm75` measures `temperature` anyway", "remove `quantity`"),
        ("lm75", r#"path = «"/x"»"#, "is not read from a file", "chip = \"file\""),
        ("lm75", r#"command = «["x"]»"#, "runs no program", "chip = \"command\""),
        ("lm75", "timeout = «1»", "runs no program", "remove `timeout`"),
        (
            "lm75",
            r#"topic = «"a"»"#,
            "not read from an MQTT broker",
            "remove `topic`, or write chip = \"mqtt\"",
        ),
        ("file", r#"broker = «"mqtt://a"»"#, "not read from an MQTT broker", "remove `broker`"),
        ("command", r#"pointer = «"/a"»"#, "not read from an MQTT broker", "remove `pointer`"),
        ("cpu", r#"max_age = «"5m"»"#, "not read from an MQTT broker", "remove `max_age`"),
        ("lm75", r#"password_file = «"p"»"#, "not read from an MQTT broker", "remove `password_file`"),
        ("mqtt", r#"bus = «"i2c-1"»"#, "sits on no bus", "`broker` and `topic` say where"),
        ("mqtt", r#"path = «"/x"»"#, "is not read from a file", "remove `path`"),
        ("mqtt", r#"timeout = «"1s"»"#, "runs no program", "remove `timeout`"),
        ("random", r#"quantity = «"count"»"#, "what `sim` says", "sim = {"),
        ("random", "address = «0x48»", "sits on no bus", "remove `address`"),
        ("cpu", r#"bus = «"i2c-1"»"#, "sits on no bus: it is the processor", "remove `bus`"),
        ("cpu", r#"channel = «"temp1"»"#, "has no channels", "remove `channel`"),
        ("file", r#"device = «"x"»"#, "not a device", "hwmon, iio, w1 and cpu"),
        ("max31865", "address = «0x48»", "sits on SPI and has no address", "the chip select"),
        ("cpu", "settings = { gain = «2.048» }", "no setting `gain`", "`cpu` has no settings"),
        ("lm75", "settings = { «gane» = 1 }", "unknown key `gane`", "did you mean `gain`?"),
        ("lm75", "settings = «1»", "invalid type", "a table"),
    ] {
        refused(chip, lines, problem, remedy);
    }
}

#[test]
fn places() {
    for (chip, lines, problem, remedy) in [
        ("«max31865»", "", "`bus` is missing", "bus = \"spi-0.0\""),
        ("max31865", r#"bus = «"i2c-1"»"#, "not an SPI bus", "\"spi-0.0\" for /dev/spidev0.0"),
        ("max31865", r#"bus = «"spi-0"»"#, "not an SPI bus", "\"spi-0.0\""),
        ("max31865", r#"bus = «"spi-0.0/x"»"#, "not an SPI bus", "\"spi-0.0\""),
        ("sht31", r#"bus = «"spi-0.0"»; address = 0x44"#, "not an I²C bus", "\"i2c-1\""),
        ("«aht20»", "bus = \"i2c-1\"", "`address` is missing", "`address = 0x38`"),
        (
            "aht20",
            r#"bus = "i2c-1"; address = «0x39»"#,
            "cannot have the address 0x39",
            "its address is 0x38",
        ),
        ("«bme280»", "bus = \"i2c-1\"", "`address` is missing", "address = 0x76`, or another of 0x76, 0x77"),
    ] {
        refused(chip, lines, problem, remedy);
    }
    let twice = |first: &str, second: &str| {
        format!("{first}\n[[boards.b.sensors]]\nname = \"t\"\nchip = \"max31865\"\n{second}")
    };
    let taken = "spi-0.0 is taken by the sensor `s` in line 4";
    refused("max31865", &twice(SPI, "bus = «\"spi-0.0\"»"), taken, "spi-0.1");
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
    let taking = |chip: &str, channel: &str| {
        let first = second(chip, channel);
        let at = first.rfind("0x48").unwrap();
        format!("{}«0x48»{}", &first[..at], &first[at + "0x48".len()..])
    };
    let taken = "0x48 on i2c-1 is taken by the sensor `s` in line 4";
    refused("ads1115", &taking("ads1115", "channel = \"a0\""), taken, "different addresses");
    refused("ads1115", &taking("lm75", ""), taken, "different addresses");
}

/// Lines of a sensor of chip `mqtt`, from line 6 on.
const MQTT: &str = r#"broker = "mqtt://127.0.0.1"; topic = "zigbee2mqtt/kitchen"; quantity = "temperature""#;

#[test]
fn topics_of_a_broker() {
    for (lines, problem, remedy) in [
        ("", "`broker` is missing", "broker = \"mqtt://127.0.0.1:1883\""),
        ("broker = \"mqtt://a\"", "`topic` is missing", "topic = \"zigbee2mqtt/kitchen\""),
        (r#"broker = «"a:1883"»; topic = "t""#, "not the address of a broker", "\"mqtt://host:1883\""),
        (r#"broker = «"mqtt://u:p@a"»; topic = "t""#, "contains a user", "`password_file`"),
        (r#"broker = «"mqtt://a/t"»; topic = "t""#, "not the address of a broker", "\"mqtts://"),
        (r#"broker = "mqtt://a"; topic = «"a/+/b"»"#, "not the topic of a sensor", "without the wildcards"),
        (r#"broker = "mqtt://a"; topic = «"a/#"»"#, "not the topic of a sensor", "without the wildcards"),
        (r#"broker = "mqtt://a"; topic = «""»"#, "not the topic of a sensor", "\"zigbee2mqtt/kitchen\""),
        (r#"broker = "mqtt://a"; topic = "t""#, "`quantity` is missing", "quantity = \"temperature\""),
        (
            r#"broker = "mqtt://a"; topic = "t"; quantity = «["count", "power"]»"#,
            "one `mqtt` measures one quantity",
            "a sensor for each",
        ),
    ] {
        // A missing key is reported at the name of the chip.
        let chip = if lines.contains('«') { "mqtt" } else { "«mqtt»" };
        refused(chip, lines, problem, remedy);
    }
    for (key, problem, remedy) in [
        (r#"pointer = «"temperature"»"#, "is not a JSON pointer", "starts with `/`"),
        (r#"pointer = «"/a~b"»"#, "is not a JSON pointer", "`~1` for a `/`"),
        (r#"max_age = «"1ms"»"#, "1ms is too short", "\"100ms\" to \"31d\""),
        (r#"max_age = «"soon"»"#, "is not a duration", "a duration such as"),
        (r#"password_file = «"p"»"#, "a password without a user", "add the key `user`"),
        (r#"user = «" "»"#, "the value is empty", "or remove the key"),
        (r#"user = "u"; password_file = «""»"#, "is not a path of a file", "write the path"),
        (r#"ca = «"ca.pem"»"#, "a broker without TLS", "`mqtts://`"),
    ] {
        refused("mqtt", &format!("{MQTT}\n{key}"), problem, remedy);
    }
    let spec = accepted("mqtt", MQTT);
    let BusAddress::Mqtt(topic) = &spec.bus_address else { panic!("{spec:?}") };
    assert_eq!((topic.broker.as_str(), topic.max_age.as_secs()), ("mqtt://127.0.0.1:1883", 600));
    assert_eq!((spec.bus(), spec.address()), (Some("mqtt://127.0.0.1:1883"), None));
    let more = r#"pointer = ""; max_age = "1h"; user = "u"; password_file = "p""#;
    let spec = accepted("mqtt", &format!("{MQTT}\n{more}"));
    let BusAddress::Mqtt(topic) = &spec.bus_address else { panic!("{spec:?}") };
    assert_eq!((topic.pointer.as_deref(), topic.max_age.as_secs()), (Some(""), 3600));
}

#[test]
fn kernel_sensors() {
    for (chip, lines, problem, remedy) in [
        ("hwmon", r#"device = «"../lm75"»"#, "not a name of a device", "without a path"),
        ("hwmon", r#"device = «""»"#, "not a name of a device", "without a path"),
        ("hwmon", r#"channel = «"in_temp"»"#, "not a channel of hwmon", "\"temp1\""),
        ("hwmon", r#"channel = «"pwm1"»"#, "what does `pwm1` measure?", "quantity = \"temperature\""),
        ("iio", r#"channel = «"temp1"»"#, "not a channel of iio", "\"in_temp\""),
        ("iio", r#"channel = «"in/temp"»"#, "not a name of a channel", "without _input"),
        ("iio", "quantity = «[]»", "no quantity at all", "once"),
        ("iio", r#"quantity = «["count", "count"]»"#, "the same quantity twice", "once"),
        ("iio", r#"quantity = [«"cuont"»]"#, "unknown name `cuont`", "did you mean `count`?"),
        ("iio", "quantity = «1»", "invalid type", "a quantity such as \"temperature\""),
    ] {
        refused(chip, lines, problem, remedy);
    }
    let both = r#"channel = "temp1"; quantity = «"humidity"»"#;
    refused("hwmon", both, "the channel measures temperature", "remove `quantity`");
    let several = r#"channel = "in_proximity"; quantity = «["count", "power"]»"#;
    refused("iio", several, "one `iio` measures one quantity", "a sensor for each");

    assert_eq!(accepted("hwmon", "").quantities, [Quantity::Temperature]);
    assert_eq!(accepted("hwmon", "channel = \"curr1\"").quantities, [Quantity::Current]);
    assert_eq!(
        accepted("hwmon", r#"channel = "pwm1"; quantity = "dimensionless""#).quantities,
        [Quantity::Dimensionless]
    );
    let air = accepted("iio", r#"device = "bme280"; quantity = ["pressure", "temperature"]"#);
    assert_eq!(air.quantities, [Quantity::Pressure, Quantity::Temperature]);
    assert_eq!(air.bus_address, BusAddress::Kernel { device: Some("bme280".to_owned()), channel: None });
    assert_eq!((accepted("ds18b20", "").chip, accepted("cpu", "").chip), (Chip::W1, Chip::Cpu));
}

#[test]
fn programs_and_files() {
    let count = "quantity = \"count\"";
    for (chip, lines, problem, remedy) in [
        ("«command»", count, "`command` is missing", "as a list"),
        ("«command»", "command = [\"x\"]", "`quantity` is missing", "add the quantity"),
        ("command", r#"command = «[]»; quantity = "count""#, "no program", "the program and its arguments"),
        ("command", r#"command = «[""]»; quantity = "count""#, "no program", "the program"),
        ("command", r#"command = «"x"»; quantity = "count""#, "invalid type", "a list"),
        ("command", r#"command = ["x"]; quantity = "count"; timeout = «11»"#, "too long", "10s"),
        ("command", r#"command = ["x"]; quantity = "count"; timeout = «0»"#, "not positive", "seconds"),
        ("command", r#"command = ["x"]; quantity = «["count", "power"]»"#, "one quantity", "for each"),
        ("«file»", count, "`path` is missing", "path = "),
        ("file", r#"path = «""»; quantity = "count""#, "no path", "such as"),
        ("«file»", "path = \"x\"", "`quantity` is missing", "add the quantity"),
    ] {
        refused(chip, lines, problem, remedy);
    }
    let sim = "path = \"x\"\nquantity = \"count\"\nsim = { «power» = { constant = 1 } }";
    refused("file", sim, "`file` does not measure power", "it measures `count`");
}

#[test]
fn settings() {
    let with = |place: &str, settings: &str| format!("{place}\nsettings = {{ {settings} }}");
    for (chip, place, settings, problem, remedy) in [
        (
            "ina219",
            I2C,
            "altitude = «5»",
            "no setting `altitude`",
            "its settings are `shunt` and `max_current`",
        ),
        ("ina219", I2C, "shunt = «0»", "not positive", "above 0"),
        ("ina219", I2C, "shunt = «1000»", "not from 0.00001 to 100", "ohm"),
        ("ina219", I2C, "max_current = «4»", "measures 3.2 A at most", "R100 means 0.1 ohm"),
        ("ina226", I2C, "shunt = 0.01, max_current = «9»", "measures 8.192 A at most", "R100"),
        ("ina226", I2C, "max_current = «0.0001»", "too few steps", "0.000819"),
        ("ads1115", ADS, "gain = «3.3»", "no full scale of 3.3 V", "6.144, 4.096, 2.048"),
        ("max31865", SPI, "wires = «5»", "5 wires", "write one of 2, 3, 4"),
        ("max31865", SPI, "mains = «55»", "55 hertz", "50, 60"),
        ("max31865", SPI, "nominal = «5»", "not from 10", "100 for a PT100"),
        ("max31865", SPI, "nominal = 1000, reference = «430»", "below the thermometer's", "4300"),
        ("scd4x", r#"bus = "i2c-1"; address = 0x62"#, "altitude = «9000»", "beyond the chip's", "0 to 3000"),
        ("scd4x", r#"bus = "i2c-1"; address = 0x62"#, "altitude = «nan»", "NaN", "a finite number"),
    ] {
        refused(chip, &with(place, settings), problem, remedy);
    }
    refused("«ads1115»", r#"bus = "i2c-1"; address = 0x48"#, "which input", "channel = \"a0\"");
    let a4 = r#"bus = "i2c-1"; address = 0x48; channel = «"a4"»"#;
    refused("ads1115", a4, "`a4` is not an input", "`a0-a1`");

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
    let scd = r#"bus = "i2c-1"; address = 0x62"#;
    assert_eq!(accepted("scd41", scd).settings.get("altitude"), None);
    assert_eq!(accepted("scd41", &with(scd, "altitude = 650")).settings.get("altitude"), Some(650.0));
}
