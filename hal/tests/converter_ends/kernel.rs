//! Sensors that the kernel reads: the content of sysfs, and the result.

use atalaya_hal::kernel::{Hwmon, Iio, Sysfs, Thermal, W1};
use atalaya_hal::{Chip, Quantity, Sensor, SensorInfo};

use super::{Decision, End, check};
use Decision::{Believed, Refused};
use End::{Max, Min, Other};
use Quantity::{Humidity, Illuminance, Temperature, Voltage};

/// One row: the files in sysfs when the sensor is read.
pub(crate) struct Case {
    pub(crate) chip: Chip,
    pub(crate) quantity: Quantity,
    pub(crate) end: End,
    /// Files with their contents, separated by blanks. For a voltage: the number, and the type of the converter if it is
    /// known. For a DS18B20: its memory.
    files: &'static str,
    decision: Decision,
}

const fn case(chip: Chip, quantity: Quantity, end: End, files: &'static str, decision: Decision) -> Case {
    Case { chip, quantity, end, files, decision }
}

const fn believed(value: f64, why: &'static str) -> Decision {
    Believed { value, why }
}

const IIO: &str = "bus/iio/devices/iio:device0";
const SENTINEL: Decision = Refused("temperature");

pub(crate) const CASES: &[Case] = &[
    // hwmon: registers of 8 to 16 bits in two's complement end at -128 °C and just below 128; unsigned ones below 256.
    case(Chip::Hwmon, Temperature, Min, "temp1_input=-128000", SENTINEL),
    case(Chip::Hwmon, Temperature, Min, "temp1_input=-127000", SENTINEL),
    case(Chip::Hwmon, Temperature, Min, "temp1_input=-273150", SENTINEL),
    case(Chip::Hwmon, Temperature, Max, "temp1_input=127000", SENTINEL),
    case(Chip::Hwmon, Temperature, Max, "temp1_input=127500", SENTINEL),
    case(Chip::Hwmon, Temperature, Max, "temp1_input=127875", SENTINEL),
    case(Chip::Hwmon, Temperature, Max, "temp1_input=127937", SENTINEL),
    case(Chip::Hwmon, Temperature, Max, "temp1_input=127938", SENTINEL),
    case(Chip::Hwmon, Temperature, Max, "temp1_input=127996", SENTINEL),
    case(Chip::Hwmon, Temperature, Max, "temp1_input=255000", SENTINEL),
    case(Chip::Hwmon, Temperature, Max, "temp1_input=255875", SENTINEL),
    case(Chip::Hwmon, Temperature, Max, "temp1_input=2147483647", SENTINEL),
    case(Chip::Hwmon, Temperature, Other, "temp1_input=125000", believed(125.0, "not an end")),
    case(Chip::Hwmon, Temperature, Other, "temp1_input=-60000", believed(-60.0, "not an end")),
    case(Chip::Hwmon, Temperature, Other, "temp1_input=25000 temp1_fault=1", Refused("probe")),
    case(Chip::Hwmon, Temperature, Other, "temp1_input=25000 heater_enable=1", Refused("heater")),
    case(Chip::Hwmon, Temperature, Other, "temp1_input=25000 heater_enable=0", believed(25.0, "off")),
    // The driver drivers/w1/slaves/w1_therm.c of Linux also shows a DS18B20 here, without the bytes that distinguish 85
    // °C from power-up.
    case(Chip::Hwmon, Temperature, Other, "name=w1_slave_temp temp1_input=85000", Refused("chip = \"w1\"")),
    case(Chip::Hwmon, Temperature, Other, "temp1_input=85000", believed(85.0, "no DS18B20")),
    // The sht4x driver before Linux 5.13 does not clip the result of the formula.
    case(Chip::Hwmon, Humidity, Min, "humidity1_input=-6000", Refused("humidity")),
    case(Chip::Hwmon, Humidity, Max, "humidity1_input=119000", Refused("humidity")),
    case(Chip::Hwmon, Humidity, Other, "humidity1_input=100000", believed(100.0, "saturated air")),
    case(Chip::Hwmon, Humidity, Other, "humidity1_input=45000 heater_enable=1", Refused("heater")),
    // IIO: the ends of the converter's type, from scan_elements if the driver exposes the number of bits.
    case(Chip::Iio, Temperature, Min, "in_temp_input=-273200", SENTINEL),
    case(Chip::Iio, Temperature, Min, "in_temp_input=-2147483648", SENTINEL),
    case(Chip::Iio, Temperature, Max, "in_temp_input=2147483647", SENTINEL),
    case(Chip::Iio, Temperature, Other, "in_temp_input=-128000", believed(-128.0, "a thermocouple")),
    case(
        Chip::Iio,
        Temperature,
        Other,
        "in_temp_raw=0 in_temp_scale=10 out_current_heater_raw=1",
        Refused("heater"),
    ),
    case(Chip::Iio, Humidity, Max, "in_humidityrelative_input=119000", Refused("humidity")),
    case(Chip::Iio, Humidity, Min, "in_humidityrelative_input=-6000", Refused("humidity")),
    case(Chip::Iio, Voltage, Max, "32767", Refused("voltage at the end")),
    case(Chip::Iio, Voltage, Min, "-32768", Refused("voltage at the end")),
    case(Chip::Iio, Voltage, Other, "4095 le:u12/16>>0", Refused("voltage at the end")),
    case(Chip::Iio, Voltage, Other, "2047 be:s12/16>>4", Refused("voltage at the end")),
    case(Chip::Iio, Voltage, Other, "-2048 be:s12/16>>4", Refused("voltage at the end")),
    case(Chip::Iio, Voltage, Other, "0 le:u12/16>>0", believed(0.0, "0 V is an input that is off")),
    case(Chip::Iio, Voltage, Other, "32767 be:s24/32>>8", believed(32.767, "24 bits go further")),
    case(Chip::Iio, Voltage, Other, "1023", believed(1.023, "the bits of the converter are not known")),
    case(
        Chip::Iio,
        Illuminance,
        Max,
        "in_illuminance_raw=65535 in_illuminance_scale=1",
        Refused("illuminance at the end"),
    ),
    case(Chip::Iio, Illuminance, Min, "in_illuminance_raw=0 in_illuminance_scale=1", believed(0.0, "dark")),
    // Maxim DS18B20, "Memory": 85 °C until the first conversion. Byte 6 of a genuine chip is then 0x0c.
    case(Chip::W1, Temperature, Min, "00 f8 4b 46 7f ff 10 10 57 t=-128000", Refused("measures from")),
    case(Chip::W1, Temperature, Max, "ff 07 4b 46 7f ff ff 10 57 t=127937", Refused("measures from")),
    case(Chip::W1, Temperature, Other, "50 05 4b 46 7f ff 0c 10 57 t=85000", Refused("85 °C")),
    case(Chip::W1, Temperature, Other, "50 05 4b 46 7f ff ff 10 57 t=85000", Refused("85 °C")),
    case(Chip::W1, Temperature, Other, "50 05 4b 46 7f ff 00 10 57 t=85000", Refused("85 °C")),
    case(
        Chip::W1,
        Temperature,
        Other,
        "50 05 4b 46 7f ff 10 10 57 t=85000",
        believed(85.0, "byte 6: measured"),
    ),
    // Linux include/linux/thermal.h: THERMAL_TEMP_INVALID; ACPI firmware returns 0 K.
    case(Chip::Cpu, Temperature, Min, "temp=-274000", SENTINEL),
    case(Chip::Cpu, Temperature, Min, "temp=-273200", SENTINEL),
    case(Chip::Cpu, Temperature, Max, "temp=127000", SENTINEL),
    case(Chip::Cpu, Temperature, Max, "temp=2147483647", SENTINEL),
    case(Chip::Cpu, Temperature, Other, "temp=-20000", believed(-20.0, "a cold start outdoors")),
];

/// Returns the paths of the files in sysfs, and their contents.
fn files(case: &Case) -> Vec<(String, String)> {
    let files = case.files;
    let (folder, files) = match (case.chip, case.quantity) {
        (Chip::Iio, Voltage) => {
            let typed = files.replace(' ', " scan_elements/in_voltage0_type=");
            (IIO, format!("name=probe in_voltage_scale=1 in_voltage0_raw={typed}"))
        }
        (Chip::Iio, _) => (IIO, format!("name=probe {files}")),
        (Chip::Hwmon, _) => ("class/hwmon/hwmon0", format!("name=probe {files}")),
        (Chip::W1, _) => {
            let memory = files.split(" t=").next().unwrap_or_default();
            let content = format!("{memory} : crc=57 YES\n{files}\n\n");
            return vec![("bus/w1/devices/28-0316a2795fff/w1_slave".to_owned(), content)];
        }
        _ => ("class/thermal/thermal_zone0", files.to_owned()),
    };
    let file = |text: &str| {
        let (name, content) = text.split_once('=').unwrap();
        (format!("{folder}/{name}"), format!("{content}\n"))
    };
    files.split(' ').map(file).collect()
}

fn sensor(case: &Case, sysfs: Sysfs) -> Box<dyn Sensor> {
    let info = SensorInfo {
        name: "s".into(),
        chip: case.chip.name().into(),
        bus: None,
        address: None,
        quantities: vec![case.quantity],
    };
    match case.chip {
        Chip::Hwmon => Box::new(Hwmon::new(sysfs, None, None, info)),
        Chip::Iio => Box::new(Iio::new(sysfs, None, None, info)),
        Chip::W1 => Box::new(W1::new(sysfs, None, info)),
        Chip::Cpu => Box::new(Thermal::new(sysfs, None, info)),
        other => panic!("{other}"),
    }
}

#[test]
fn every_sensor_of_the_kernel_refuses_or_believes_sentinel_values() {
    let mut wrong = Vec::new();
    for case in CASES {
        let row = format!("{} {} {:?} {}", case.chip, case.quantity, case.end, case.files);
        let outcome = std::panic::catch_unwind(|| {
            let sys = tempfile::tempdir().unwrap();
            for (file, content) in files(case) {
                let path = sys.path().join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
            check(&row, case.quantity, case.decision, sensor(case, Sysfs::new(sys.path())).read());
        });
        if outcome.is_err() {
            wrong.push(row);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
