//! `atalaya sensors read` of a chip whose first measurement takes seconds.

use std::process::{Command, Output};

use atalaya_testbed::Scratch;

fn sensors_read(boards: &str, args: &[&str]) -> Output {
    let scratch = Scratch::new("sensors-read");
    std::fs::write(scratch.path().join("boards.toml"), boards).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_atalaya"));
    command.args(["sensors", "read"]).args(args).env_clear().current_dir(scratch.path());
    command.output().unwrap()
}

const CO2: &str = "[boards.b]\nbackend = \"sim\"\n\
    [[boards.b.sensors]]\nname = \"room\"\nchip = \"scd41\"\nbus = \"i2c-1\"\naddress = 0x62\n\
    sim = { concentration = { constant = 700 } }\n\
    [[boards.b.sensors]]\nname = \"door\"\nchip = \"random\"\nfilters = [{ delta = 5 }]\n\
    sim = { temperature = { constant = 20 } }\n";

#[test]
fn sensors_read_waits_for_the_first_measurement_of_an_scd41() {
    let output = sensors_read(CO2, &[]);
    let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{said}");
    assert!(text.contains("room") && text.contains("700 ppm"), "{text}");
    // Read once: the filter would drop a second, equal value.
    assert_eq!(text.matches("door").count(), 1, "{text}");
    assert_eq!(said.lines().filter(|line| line.contains("room: waiting up to")).count(), 1, "{said}");
}

#[test]
fn sensors_read_does_not_wait_for_an_scd41_that_is_absent_or_not_wanted() {
    let begun = std::time::Instant::now();
    let absent =
        CO2.replace("{ constant = 700 }", "{ constant = 700 }, faults = [{ fault = \"no-acknowledge\" }]");
    let output = sensors_read(&absent, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(74), "{said}");
    assert!(said.contains("no acknowledge") && !said.contains("waiting"), "{said}");
    let output = sensors_read(CO2, &["door"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
}
