//! Measures the number of samples a second of a bus, with a bare loop over a published driver and with a
//! [`Sensor`](atalaya_hal::Sensor) with a filter: `cargo run --release -p atalaya-hal --example samples -- i2c-1 0x48`,
//! for an LM75 at that address. The two alternate in turns of a few samples, so that other load on the machine affects
//! both; each line contains the samples a second of both. `cargo xtask bench pi` runs it on an emulated Raspberry Pi.

#[cfg(all(target_os = "linux", feature = "linux"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::time::{Duration, Instant};

    use atalaya_hal::{BusAddress, Chip, Filter, SensorSpec, linux};
    use linux_embedded_hal::I2cdev;

    const ROUNDS: u32 = 10;
    const TIME: Duration = Duration::from_secs(1);
    const TURN: u32 = 16;

    let mut words = std::env::args().skip(1);
    let (Some(bus), Some(address)) = (words.next(), words.next()) else {
        return Err("usage: samples BUS ADDRESS, as samples i2c-1 0x48".into());
    };
    let number = u8::from_str_radix(address.trim_start_matches("0x"), 16)?;

    let mut chip = lm75::Lm75::new(I2cdev::new(format!("/dev/{bus}"))?, number);
    let mut bare = || chip.read_temperature().map(f64::from).map_err(|error| format!("{error:?}"));

    let address = BusAddress::I2c { bus, address: number };
    let ambient =
        SensorSpec { filters: vec![Filter::Offset(0.5)], ..SensorSpec::new("ambient", Chip::Lm75, address) };
    let mut buses = linux::open([&ambient], "")?;
    let sensor = buses.iter_mut().flat_map(|bus| &mut bus.sensors).next().ok_or("no sensor was opened")?;
    let mut ours = || match sensor.read() {
        Ok(readings) => readings.first().map(|reading| reading.value()).ok_or_else(String::new),
        Err(error) => Err(error.to_string()),
    };

    // Returns the duration of one turn.
    let turn = |read: &mut dyn FnMut() -> Result<f64, String>| -> Result<Duration, String> {
        let start = Instant::now();
        for _ in 0..TURN {
            std::hint::black_box(read()?);
        }
        Ok(start.elapsed())
    };
    for _ in 0..ROUNDS {
        let (mut turns, mut times) = (0, [Duration::ZERO; 2]);
        while times[0] + times[1] < TIME {
            times[0] += turn(&mut bare)?;
            times[1] += turn(&mut ours)?;
            turns += 1;
        }
        let [bare, ours] = times.map(|time| f64::from(turns * TURN) / time.as_secs_f64());
        println!("samples {bare:.1} {ours:.1}");
    }
    Ok(())
}

#[cfg(not(all(target_os = "linux", feature = "linux")))]
fn main() {
    println!("the buses of a board need Linux, and the feature \"linux\"");
}
