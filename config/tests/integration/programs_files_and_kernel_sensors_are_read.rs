//! Tests from boards.toml to readings, without a bus: programs, files and the kernel, on the machine that runs this
//! test.
#![cfg(target_os = "linux")]

use std::os::unix::fs::PermissionsExt;

use atalaya_config::Boards;
use atalaya_hal::{Cause, Quantity, linux};

const BOARDS: &str = r#"
[boards.box]
backend = "linux"

[[boards.box.sensors]]
name = "load"
chip = "command"
command = ["sh", "-c", "cut -d' ' -f1 /proc/loadavg"]
quantity = "dimensionless"

[[boards.box.sensors]]
name = "beside"
chip = "command"
command = ["./measure", "21.5"]
quantity = "temperature"
filters = [{ offset = 1 }]

[[boards.box.sensors]]
name = "level"
chip = "file"
path = "state/level"
quantity = "dimensionless"
filters = [{ scale = 0.01 }]

[[boards.box.sensors]]
name = "processes"
chip = "file"
path = "/proc/sys/kernel/pid_max"
quantity = "count"

[[boards.box.sensors]]
name = "slow"
chip = "command"
command = ["sleep", "1000"]
timeout = "200ms"
quantity = "count"

[[boards.box.sensors]]
name = "absent"
chip = "hwmon"
device = "a chip that nobody has"
channel = "temp1"

[[boards.box.sensors]]
name = "processor"
chip = "cpu"
"#;

#[test]
fn paths_start_in_the_folder_of_boards_toml_and_every_sensor_has_a_worker_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("boards.toml"), BOARDS).unwrap();
    std::fs::create_dir(path("state")).unwrap();
    std::fs::write(path("state/level"), "4250\n").unwrap();
    std::fs::write(path("measure"), "#!/bin/sh\ntest -e boards.toml && echo \"$1\"\n").unwrap();
    std::fs::set_permissions(path("measure"), PermissionsExt::from_mode(0o755)).unwrap();

    let boards = Boards::load(path("boards.toml")).unwrap();
    let mut buses = linux::open(boards.board(None).unwrap().1.specs(), &boards.base_dir).unwrap();
    let names: Vec<String> = buses.iter().map(|bus| bus.name.clone()).collect();
    assert_eq!(names, ["load", "beside", "level", "processes", "slow", "absent", "processor"]);
    let mut read = |index: usize| buses[index].sensors[0].read();

    assert!(read(0).unwrap()[0].value() >= 0.0);
    let beside = read(1).unwrap();
    assert_eq!((beside[0].quantity(), beside[0].value()), (Quantity::Temperature, 22.5));
    assert_eq!(read(2).unwrap()[0].value(), 42.5);
    assert!(read(3).unwrap()[0].value() > 300.0);
    assert_eq!(read(4).unwrap_err().cause(), Cause::Timeout);
    assert_eq!(read(5).unwrap_err().cause(), Cause::NotPresent);
    // A build machine may have no thermal zone.
    match read(6) {
        Ok(readings) => assert!((-40.0..150.0).contains(&readings[0].value())),
        Err(error) => assert_eq!(error.cause(), Cause::NotPresent, "{error}"),
    }
}
