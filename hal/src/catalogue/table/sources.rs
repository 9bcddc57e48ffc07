//! Rows of the sources of readings that are not chips on a bus: sensors of the kernel, programs, files,
//! MQTT, numbers.

#[doc(hidden)]
#[macro_export]
macro_rules! source_rows {
    ($then:ident $($rows:tt)*) => { $then! { $($rows)*

/// Sensor that a kernel driver exposes below `/sys/class/hwmon`.
Hwmon { other } ChipSpec {
    name: "hwmon",
    about: "a sensor of the kernel, in /sys/class/hwmon",
    bus: Kernel,
    tested: "emulated Pi, sysfs made by tests",
    datasheet: datasheet("Linux", "Documentation/hwmon/sysfs-interface.rst", "", "https://docs.kernel.org/hwmon/sysfs-interface.html"),
    optional: &[
        key("device", "\"1-0048\"", "the only device that matches", "place on the bus (`1-0048`), name of the chip (`lm75`), or `hwmon2`"),
        key("channel", "\"temp1\"", "the channel that measures `quantity`", "`temp`, `in`, `curr`, `power`, `humidity` or `fan`, with its number"),
        key("quantity", "\"temperature\"", "that of the channel, or temperature", "quantity, or a list of quantities if there is no `channel`"),
    ],
    pins: &[("chip", "as the driver of the kernel needs it; load the driver with a device tree overlay, such as `dtoverlay=i2c-sensor,lm75`")],
    problems: &[
        ("`nothing to read`", "The message lists the devices of the kernel: write one of them as `device`."),
        ("A value of exactly 127.9 °C or -127 °C", "This is an error code of the chip, and an error of the read."),
    ],
    ..SOURCE
};

/// Sensor that a kernel driver exposes below `/sys/bus/iio`.
Iio { other } ChipSpec {
    name: "iio",
    about: "a sensor of the kernel, in /sys/bus/iio",
    bus: Kernel,
    tested: "sysfs made by tests",
    datasheet: datasheet("Linux", "Documentation/ABI/testing/sysfs-bus-iio", "", "https://docs.kernel.org/driver-api/iio/index.html"),
    optional: &[
        key("device", "\"bme280\"", "the only device that matches", "place on the bus (`1-0076`), name of the chip (`bme280`), or `iio:device0`"),
        key("quantity", "[\"temperature\", \"humidity\", \"pressure\"]", "that of the channel, or temperature", "quantity, or a list of quantities if there is no `channel`"),
    ],
    pins: &[("chip", "as the driver of the kernel needs it; load the driver with a device tree overlay, such as `dtoverlay=i2c-sensor,bme280`")],
    problems: &[
        ("`nothing to read`", "The message lists the devices of the kernel: write one of them as `device`."),
        ("A saturated converter is not an error", "The kernel does not show the width of most converters: add `filters = [{ range = [low, high] }]`."),
    ],
    ..SOURCE
};

/// Thermometer on the 1-Wire bus, read by the kernel.
W1 { other } ChipSpec {
    name: "w1",
    aliases: &["ds18b20"],
    about: "a DS18B20 on 1-Wire, read by the kernel",
    bus: Kernel,
    measures: Always(&[Measured::new(Temperature, -55.0, 125.0, 0.0625)]),
    checksum: Checksum::Other,
    tested: "sysfs made by tests",
    datasheet: datasheet("Analog Devices", "19-7487", "6", "https://www.analog.com/media/en/technical-documentation/data-sheets/DS18B20.pdf"),
    optional: &[key("device", "\"28-0316a2795fff\"", "the only thermometer", "name of the device in /sys/bus/w1/devices")],
    pins: &[("VDD", pi::POWER), ("GND", pi::GROUND), ("DQ", "GPIO 4 (pin 7), with a resistor of 4.7 kΩ to 3.3 V; enable it with `dtoverlay=w1-gpio`")],
    problems: &[
        ("`85 °C`", "The chip lost its power before it had measured: connect VDD, instead of parasite power."),
        ("No device in `/sys/bus/w1/devices`", "Check the resistor of 4.7 kΩ and the overlay."),
    ],
    ..SOURCE
};

/// Processor temperature of this machine.
Cpu { other } ChipSpec {
    name: "cpu",
    about: "the processor's thermometer",
    bus: Kernel,
    measures: Always(&[Measured::new(Temperature, -273.0, 126.0, 0.001)]),
    tested: "sysfs made by tests",
    datasheet: datasheet("Linux", "Documentation/driver-api/thermal/sysfs-api.rst", "", "https://docs.kernel.org/driver-api/thermal/sysfs-api.html"),
    optional: &[key("device", "\"cpu-thermal\"", "the zone of the processor", "type of the zone in /sys/class/thermal, or `thermal_zone0`")],
    problems: &[("`nothing to read`", "A virtual machine has no thermometer. The message lists the zones of this machine.")],
    ..SOURCE
};

/// Program that prints a number.
Command { other } ChipSpec {
    name: "command",
    about: "a program that prints a number",
    bus: BusKind::Command,
    required: &[
        key("command", "[\"/usr/local/bin/ups-voltage\", \"--short\"]", "", "program and its arguments"),
        key("quantity", "\"voltage\"", "", "quantity of the number"),
    ],
    optional: &[key("timeout", "\"3s\"", "`3s`", "time limit of the program, at most 10 s")],
    problems: &[
        ("The program is not found", "There is no shell: write the path of the program, and each argument as an element of the list."),
        ("`timeout`", "The program and its children are killed after `timeout`: 3 s by default, 10 s at most."),
    ],
    ..SOURCE
};

/// File that contains a number.
File { other } ChipSpec {
    name: "file",
    about: "a file with a number in it",
    bus: BusKind::File,
    required: &[
        key("path", "\"/run/tank/level\"", "", "path, relative to the folder of boards.toml"),
        key("quantity", "\"dimensionless\"", "", "quantity of the number"),
    ],
    problems: &[("The file is not a number", "The file must contain one number and at most 64 KiB. Write it under another name and rename it, so that it is never half written.")],
    ..SOURCE
};

/// Number in the messages of an MQTT broker.
Mqtt { other } ChipSpec {
    name: "mqtt",
    about: "a number in the messages of an MQTT broker",
    bus: BusKind::Mqtt,
    driver: "rumqttc-v4-next",
    first_reading: Duration::from_secs(60),
    tested: "Mosquitto 2.0.11",
    datasheet: datasheet("OASIS", "MQTT Version 3.1.1", "", "https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/mqtt-v3.1.1.html"),
    required: &[
        key("broker", "\"mqtt://127.0.0.1:1883\"", "", "`mqtt://host:port`, or `mqtts://host:port` for TLS; the ports 1883 and 8883 may be omitted"),
        key("topic", "\"zigbee2mqtt/kitchen\"", "", "topic of the messages, without wildcards"),
        key("quantity", "\"temperature\"", "", "quantity of the number"),
    ],
    optional: &[
        key("pointer", "\"/temperature\"", "the message is the number", "JSON pointer (RFC 6901) to the number in the message"),
        key("max_age", "\"10m\"", "`10m`", "maximum age of the newest message; an older one is not a reading"),
        key("user", "\"atalaya\"", "no user", "user name at the broker"),
        key("password_file", "\"/etc/atalaya/mqtt-password\"", "no password", "file with the password, read at every connection"),
        key("ca", "\"/etc/atalaya/mqtt-ca.pem\"", "those of the system", "file with certificates of authorities (PEM) that are trusted besides those of the system; for `mqtts`"),
    ],
    problems: &[
        ("`no message since the connection began`", "The device has not published on this topic yet: compare the topic with `mosquitto_sub -v -t '#'`. A device that publishes retained messages is read at once."),
        ("`no message for longer than 600s`", "The device is silent: check it, or write a longer `max_age` if it publishes less often."),
        ("`the message has no /temperature`", "The pointer is that of another device or quantity: compare it with a message. Letters are case-sensitive."),
        ("`is not one number`", "The message is JSON, or has a unit: write `pointer`, or configure the device to publish the number alone."),
        ("`the broker refuses the user or the password`", "Check `user` and the file `password_file`, which contains the password alone."),
        ("`the broker refuses the subscription`", "The access list of the broker does not allow this user to read the topic."),
        ("The value of a dead device is read after a restart", "It is a retained message, whose age MQTT does not transfer: it counts from the arrival. A retained message that arrives again after a reconnection, unchanged, keeps its first arrival."),
    ],
    ..SOURCE
};

/// Number generator without a chip, in the simulator only.
Random { other } ChipSpec {
    name: "random",
    about: "random numbers, only pretended",
    bus: Nothing,
    // It can simulate any fault.
    checksum: Checksum::Other,
    problems: &[("`random` is refused with `backend = \"linux\"`", "A Linux board has no such chip: write `backend = \"sim\"`.")],
    ..SOURCE
};

    } };
}
