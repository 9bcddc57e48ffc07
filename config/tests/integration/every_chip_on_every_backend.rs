//! Checks that every combination of backend and chip either works or is refused when boards.toml is read, with the
//! reason.

use atalaya_config::Boards;
use atalaya_hal::Chip;
use atalaya_hal::catalogue::BusKind;

/// Returns a board with only this chip, with the keys that it needs.
fn board(backend: &str, chip: Chip) -> String {
    let mut text = format!(
        "[boards.b]\nbackend = \"{backend}\"\n[[boards.b.sensors]]\nname = \"s\"\nchip = \"{chip}\"\n"
    );
    text.push_str(&match chip.spec().bus {
        BusKind::I2c { addresses } => format!("bus = \"i2c-65535\"\naddress = {}\n", addresses[0]),
        BusKind::Spi => "bus = \"spi-65535.0\"\n".to_owned(),
        BusKind::Command => "command = [\"/nowhere/program\"]\nquantity = \"count\"\n".to_owned(),
        BusKind::File => "path = \"/nowhere/file\"\nquantity = \"count\"\n".to_owned(),
        BusKind::Mqtt => {
            "broker = \"mqtt://127.0.0.1:1\"\ntopic = \"/nowhere/topic\"\nquantity = \"count\"\n".to_owned()
        }
        _ => String::new(),
    });
    if let Some(first) = chip.spec().channels.first() {
        text.push_str(&format!("channel = \"{first}\"\n"));
    }
    text
}

#[test]
fn the_simulator_takes_every_chip() {
    for chip in Chip::ALL {
        let boards = Boards::parse(&board("sim", chip), "boards.toml").unwrap();
        assert_eq!(boards.boards["b"].sensors[0].spec().chip, chip);
    }
}

#[test]
fn a_linux_board_takes_every_chip_but_random_which_is_refused_with_the_reason() {
    for chip in Chip::ALL {
        let parsed = Boards::parse(&board("linux", chip), "boards.toml");
        match chip {
            Chip::Random => {
                let message = parsed.unwrap_err().to_string();
                assert!(message.starts_with("boards.toml:5:8: `random` is not a chip"), "{message}");
                assert!(message.contains("write `backend = \"sim\"`"), "{message}");
            }
            _ => assert_eq!(parsed.unwrap().boards["b"].sensors[0].spec().chip, chip),
        }
    }
}

/// Opens chips that this machine lacks: the start must not fail, and the first read must name the missing device.
#[cfg(target_os = "linux")]
#[test]
fn on_linux_every_chip_opens_and_an_absent_one_is_an_error_of_its_read() {
    for chip in Chip::ALL.into_iter().filter(|chip| *chip != Chip::Random) {
        let boards = Boards::parse(&board("linux", chip), "boards.toml").unwrap();
        let mut buses = atalaya_hal::linux::open(boards.boards["b"].specs(), "").unwrap();
        let sensor = &mut buses[0].sensors[0];
        assert_eq!(sensor.info().chip, chip.name());
        assert_eq!(sensor.info().quantities, boards.boards["b"].sensors[0].spec().quantities);
        // This machine may have a processor sensor and other sensors of the kernel.
        if chip.spec().bus == BusKind::Kernel {
            continue;
        }
        let message = sensor.read().unwrap_err().to_string();
        assert!(message.contains("65535") || message.contains("/nowhere/"), "{chip}: {message}");
        assert!(message.contains("No such file") || message.contains("nothing to read"), "{chip}: {message}");
    }
}

#[test]
fn what_a_chip_measures_is_known_before_it_is_asked() {
    for chip in Chip::ALL {
        let boards = Boards::parse(&board("sim", chip), "boards.toml").unwrap();
        let quantities = boards.boards["b"].sensors[0].spec().quantities.clone();
        assert!(!quantities.is_empty(), "{chip}");
        if let Some(always) = chip.quantities() {
            assert_eq!(quantities, always, "{chip}");
        }
    }
}
