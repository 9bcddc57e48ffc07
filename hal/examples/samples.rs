//! How many samples a second a bus gives, to a bare loop over a published driver and to a [`Sensor`](atalaya_hal::Sensor)
//! with a filter: `cargo run --release -p atalaya-hal --example samples -- i2c-1 0x48`, for an LM75 at that address. The
//! loops take turns; each line has samples a second of both. `cargo xtask bench pi` runs it on an emulated Raspberry Pi.

#[cfg(all(target_os = "linux", feature = "linux"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::time::{Duration, Instant};

    use atalaya_hal::{Boards, linux};
    use linux_embedded_hal::I2cdev;

    const ROUNDS: u32 = 10;
    const TIME: Duration = Duration::from_millis(500);

    let mut words = std::env::args().skip(1);
    let (Some(bus), Some(address)) = (words.next(), words.next()) else {
        return Err("usage: samples BUS ADDRESS, as samples i2c-1 0x48".into());
    };
    let number = u8::from_str_radix(address.trim_start_matches("0x"), 16)?;

    let mut chip = lm75::Lm75::new(I2cdev::new(format!("/dev/{bus}"))?, number);
    let mut bare = || chip.read_temperature().map(f64::from).map_err(|error| format!("{error:?}"));

    let board = format!(
        "[boards.one]\nbackend = \"linux\"\n[[boards.one.sensors]]\nname = \"ambient\"\nchip = \"lm75\"\nbus = \"{bus}\"\n\
         address = {address}\nfilters = [{{ offset = 0.5 }}]\n"
    );
    let boards = Boards::parse(&board, "this program")?;
    let mut buses = linux::open(boards.board(None)?.1, &boards.base_dir)?;
    let sensor = buses.iter_mut().flat_map(|bus| &mut bus.sensors).next().ok_or("the board has no sensor")?;
    let mut ours = || match sensor.read() {
        Ok(readings) => readings.first().map(|reading| reading.value()).ok_or_else(String::new),
        Err(error) => Err(error.to_string()),
    };

    let rate = |read: &mut dyn FnMut() -> Result<f64, String>| -> Result<f64, String> {
        let start = Instant::now();
        let mut samples = 0_u32;
        while start.elapsed() < TIME {
            std::hint::black_box(read()?);
            samples += 1;
        }
        Ok(f64::from(samples) / start.elapsed().as_secs_f64())
    };
    for _ in 0..ROUNDS {
        println!("samples {:.1} {:.1}", rate(&mut bare)?, rate(&mut ours)?);
    }
    Ok(())
}

#[cfg(not(all(target_os = "linux", feature = "linux")))]
fn main() {
    println!("the buses of a board need Linux, and the feature \"linux\"");
}
