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
    files: &'static [(&'static str, &'static str)],
    decision: Decision,
}

const fn case(
    chip: Chip,
    quantity: Quantity,
    end: End,
    files: &'static [(&'static str, &'static str)],
    decision: Decision,
) -> Case {
    Case { chip, quantity, end, files, decision }
}

const fn believed(value: f64, why: &'static str) -> Decision {
    Believed { value, why }
}

const SENTINEL: Decision = Refused("temperature");
const FAMILY_28: &str = "bus/w1/devices/28-0316a2795fff/w1_slave";

pub(crate) const CASES: &[Case] = &[
    // hwmon: registers of 8 to 16 bits in two's complement end at -128 °C and just below 128; unsigned ones below 256.
    case(Chip::Hwmon, Temperature, Min, &[("temp1_input", "-128000")], SENTINEL),
    case(Chip::Hwmon, Temperature, Min, &[("temp1_input", "-127000")], SENTINEL),
    case(Chip::Hwmon, Temperature, Min, &[("temp1_input", "-273150")], SENTINEL),
    case(Chip::Hwmon, Temperature, Max, &[("temp1_input", "127000")], SENTINEL),
    case(Chip::Hwmon, Temperature, Max, &[("temp1_input", "127500")], SENTINEL),
    case(Chip::Hwmon, Temperature, Max, &[("temp1_input", "127875")], SENTINEL),
    case(Chip::Hwmon, Temperature, Max, &[("temp1_input", "127937")], SENTINEL),
    case(Chip::Hwmon, Temperature, Max, &[("temp1_input", "127938")], SENTINEL),
    case(Chip::Hwmon, Temperature, Max, &[("temp1_input", "127996")], SENTINEL),
    case(Chip::Hwmon, Temperature, Max, &[("temp1_input", "255000")], SENTINEL),
    case(Chip::Hwmon, Temperature, Max, &[("temp1_input", "255875")], SENTINEL),
    case(Chip::Hwmon, Temperature, Max, &[("temp1_input", "2147483647")], SENTINEL),
    case(Chip::Hwmon, Temperature, Other, &[("temp1_input", "125000")], believed(125.0, "not an end")),
    case(Chip::Hwmon, Temperature, Other, &[("temp1_input", "-60000")], believed(-60.0, "not an end")),
    case(
        Chip::Hwmon,
        Temperature,
        Other,
        &[("temp1_input", "25000"), ("temp1_fault", "1")],
        Refused("probe"),
    ),
    case(
        Chip::Hwmon,
        Temperature,
        Other,
        &[("temp1_input", "25000"), ("heater_enable", "1")],
        Refused("heater"),
    ),
    case(
        Chip::Hwmon,
        Temperature,
        Other,
        &[("temp1_input", "25000"), ("heater_enable", "0")],
        believed(25.0, "off"),
    ),
    // The driver drivers/w1/slaves/w1_therm.c of Linux also shows a DS18B20 here, without the bytes that distinguish 85
    // °C from power-up.
    case(
        Chip::Hwmon,
        Temperature,
        Other,
        &[("name", "w1_slave_temp"), ("temp1_input", "85000")],
        Refused("chip = \"w1\""),
    ),
    case(Chip::Hwmon, Temperature, Other, &[("temp1_input", "85000")], believed(85.0, "no DS18B20")),
    // The sht4x driver before Linux 5.13 does not clip the result of the formula.
    case(Chip::Hwmon, Humidity, Min, &[("humidity1_input", "-6000")], Refused("humidity")),
    case(Chip::Hwmon, Humidity, Max, &[("humidity1_input", "119000")], Refused("humidity")),
    case(Chip::Hwmon, Humidity, Other, &[("humidity1_input", "100000")], believed(100.0, "saturated air")),
    case(
        Chip::Hwmon,
        Humidity,
        Other,
        &[("humidity1_input", "45000"), ("heater_enable", "1")],
        Refused("heater"),
    ),
    // IIO: the ends of the converter's type, from scan_elements if the driver exposes the number of bits.
    case(Chip::Iio, Temperature, Min, &[("in_temp_input", "-273200")], SENTINEL),
    case(Chip::Iio, Temperature, Min, &[("in_temp_input", "-2147483648")], SENTINEL),
    case(Chip::Iio, Temperature, Max, &[("in_temp_input", "2147483647")], SENTINEL),
    case(
        Chip::Iio,
        Temperature,
        Other,
        &[("in_temp_input", "-128000")],
        believed(-128.0, "a thermocouple measures it"),
    ),
    case(
        Chip::Iio,
        Temperature,
        Other,
        &[("in_temp_raw", "0"), ("in_temp_scale", "10"), ("out_current_heater_raw", "1")],
        Refused("heater"),
    ),
    case(Chip::Iio, Humidity, Max, &[("in_humidityrelative_input", "119000")], Refused("humidity")),
    case(Chip::Iio, Humidity, Min, &[("in_humidityrelative_input", "-6000")], Refused("humidity")),
    case(
        Chip::Iio,
        Voltage,
        Max,
        &[("in_voltage0_raw", "32767"), ("in_voltage_scale", "1")],
        Refused("voltage at the end"),
    ),
    case(
        Chip::Iio,
        Voltage,
        Min,
        &[("in_voltage0_raw", "-32768"), ("in_voltage_scale", "1")],
        Refused("voltage at the end"),
    ),
    case(
        Chip::Iio,
        Voltage,
        Other,
        &[
            ("in_voltage0_raw", "4095"),
            ("in_voltage_scale", "1"),
            ("scan_elements/in_voltage0_type", "le:u12/16>>0"),
        ],
        Refused("voltage at the end"),
    ),
    case(
        Chip::Iio,
        Voltage,
        Other,
        &[
            ("in_voltage0_raw", "2047"),
            ("in_voltage_scale", "1"),
            ("scan_elements/in_voltage0_type", "be:s12/16>>4"),
        ],
        Refused("voltage at the end"),
    ),
    case(
        Chip::Iio,
        Voltage,
        Other,
        &[
            ("in_voltage0_raw", "-2048"),
            ("in_voltage_scale", "1"),
            ("scan_elements/in_voltage0_type", "be:s12/16>>4"),
        ],
        Refused("voltage at the end"),
    ),
    case(
        Chip::Iio,
        Voltage,
        Other,
        &[
            ("in_voltage0_raw", "0"),
            ("in_voltage_scale", "1"),
            ("scan_elements/in_voltage0_type", "le:u12/16>>0"),
        ],
        believed(0.0, "0 V is an input that is off"),
    ),
    case(
        Chip::Iio,
        Voltage,
        Other,
        &[
            ("in_voltage0_raw", "32767"),
            ("in_voltage_scale", "1"),
            ("scan_elements/in_voltage0_type", "be:s24/32>>8"),
        ],
        believed(32.767, "24 bits go further"),
    ),
    case(
        Chip::Iio,
        Voltage,
        Other,
        &[("in_voltage0_raw", "1023"), ("in_voltage_scale", "1")],
        believed(1.023, "the bits of the converter are not known"),
    ),
    case(
        Chip::Iio,
        Illuminance,
        Max,
        &[("in_illuminance_raw", "65535"), ("in_illuminance_scale", "1")],
        Refused("illuminance at the end"),
    ),
    case(
        Chip::Iio,
        Illuminance,
        Min,
        &[("in_illuminance_raw", "0"), ("in_illuminance_scale", "1")],
        believed(0.0, "dark"),
    ),
    // Maxim DS18B20, "Memory": 85 °C until the first conversion. Byte 6 of a genuine chip is then 0x0c.
    case(
        Chip::W1,
        Temperature,
        Min,
        &[(FAMILY_28, "00 f8 4b 46 7f ff 10 10 57 : crc=57 YES\n00 f8 4b 46 7f ff 10 10 57 t=-128000\n")],
        Refused("measures from"),
    ),
    case(
        Chip::W1,
        Temperature,
        Max,
        &[(FAMILY_28, "ff 07 4b 46 7f ff ff 10 57 : crc=57 YES\nff 07 4b 46 7f ff ff 10 57 t=127937\n")],
        Refused("measures from"),
    ),
    case(
        Chip::W1,
        Temperature,
        Other,
        &[(FAMILY_28, "50 05 4b 46 7f ff 0c 10 57 : crc=57 YES\n50 05 4b 46 7f ff 0c 10 57 t=85000\n")],
        Refused("85 °C"),
    ),
    case(
        Chip::W1,
        Temperature,
        Other,
        &[(FAMILY_28, "50 05 4b 46 7f ff ff 10 57 : crc=57 YES\n50 05 4b 46 7f ff ff 10 57 t=85000\n")],
        Refused("85 °C"),
    ),
    case(
        Chip::W1,
        Temperature,
        Other,
        &[(FAMILY_28, "50 05 4b 46 7f ff 00 10 57 : crc=57 YES\n50 05 4b 46 7f ff 00 10 57 t=85000\n")],
        Refused("85 °C"),
    ),
    case(
        Chip::W1,
        Temperature,
        Other,
        &[(FAMILY_28, "50 05 4b 46 7f ff 10 10 57 : crc=57 YES\n50 05 4b 46 7f ff 10 10 57 t=85000\n")],
        believed(85.0, "byte 6 says that it was measured"),
    ),
    // Linux include/linux/thermal.h: THERMAL_TEMP_INVALID; ACPI firmware returns 0 K.
    case(Chip::Cpu, Temperature, Min, &[("class/thermal/thermal_zone0/temp", "-274000")], SENTINEL),
    case(Chip::Cpu, Temperature, Min, &[("class/thermal/thermal_zone0/temp", "-273200")], SENTINEL),
    case(Chip::Cpu, Temperature, Max, &[("class/thermal/thermal_zone0/temp", "127000")], SENTINEL),
    case(Chip::Cpu, Temperature, Max, &[("class/thermal/thermal_zone0/temp", "2147483647")], SENTINEL),
    case(
        Chip::Cpu,
        Temperature,
        Other,
        &[("class/thermal/thermal_zone0/temp", "-20000")],
        believed(-20.0, "a cold start outdoors"),
    ),
];

fn folder(chip: Chip) -> &'static str {
    match chip {
        Chip::Hwmon => "class/hwmon/hwmon0/",
        Chip::Iio => "bus/iio/devices/iio:device0/",
        _ => "",
    }
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
        let row = format!("{} {} {:?} {:?}", case.chip, case.quantity, case.end, case.files);
        let outcome = std::panic::catch_unwind(|| {
            let sys = tempfile::tempdir().unwrap();
            let name = [("name", "probe")];
            let name: &[(&str, &str)] = if folder(case.chip).is_empty() { &[] } else { &name };
            for (file, content) in name.iter().chain(case.files) {
                let path = sys.path().join(folder(case.chip)).join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, format!("{content}\n")).unwrap();
            }
            check(&row, case.quantity, case.decision, sensor(case, Sysfs::new(sys.path())).read());
        });
        if outcome.is_err() {
            wrong.push(row);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
