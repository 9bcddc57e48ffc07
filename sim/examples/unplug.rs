//! Reads a simulated LM75 through the driver of the real chip, unplugs the chip, and plugs it in again:
//! `cargo run -p atalaya-sim --example unplug`

use atalaya_hal::{BusAddress, Chip, Quantity, SensorSpec};
use atalaya_sim::{BusFault, Shape, SimSensor, Simulator, Waveform};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus_address = BusAddress::I2c { bus: "i2c-1".to_owned(), address: 0x48 };
    let walk = Shape::Walk { start: 21.0, step: 1.0, min: 15.0, max: 30.0 };
    let mut ambient = SimSensor::new(SensorSpec::new("ambient", Chip::Lm75, bus_address));
    ambient.waveforms.insert(Quantity::Temperature, Waveform { shape: walk, step: None, seed: None });
    let (simulator, mut buses) = Simulator::new([&ambient], "")?;
    let bus = simulator.bus("i2c-1").ok_or("the board has no i2c-1")?;

    for (fault, what) in
        [(None, "plugged in"), (Some(BusFault::NoAcknowledge), "pulled out"), (None, "back again")]
    {
        println!("{what}:");
        bus.set_fault(0x48, fault);
        for sensor in buses.iter_mut().flat_map(|bus| &mut bus.sensors) {
            for _ in 0..3 {
                match sensor.read() {
                    Ok(readings) => readings.iter().for_each(|reading| println!("  {reading}")),
                    Err(error) => println!("  {error}"),
                }
            }
        }
    }
    Ok(())
}
