use super::super::tests::{Tree, value};
use super::*;
use crate::Cause;
use crate::file::tests::info;

fn zone(tree: &Tree, number: usize, kind: &str, millis: &str) {
    tree.write(&format!("class/thermal/thermal_zone{number}/type"), format!("{kind}\n"));
    tree.write(&format!("class/thermal/thermal_zone{number}/temp"), format!("{millis}\n"));
}

fn sensor(tree: &Tree, device: Option<&str>) -> Thermal {
    Thermal::new(tree.sysfs(), device.map(str::to_owned), info("cpu", &[Quantity::Temperature]))
}

#[test]
fn the_processors_zone_is_preferred_to_any_other() {
    let tree = Tree::new();
    tree.write("class/thermal/cooling_device0/type", "Processor\n");
    zone(&tree, 0, "INT3400 Thermal", "20000");
    assert_eq!(value(sensor(&tree, None).read()), 20.0, "the first, for want of a better one");
    zone(&tree, 2, "acpitz", "27800");
    assert_eq!(value(sensor(&tree, None).read()), 27.8);
    zone(&tree, 10, "x86_pkg_temp", "51000");
    assert_eq!(value(sensor(&tree, None).read()), 51.0);
    zone(&tree, 11, "cpu-thermal", "48312");
    assert_eq!(value(sensor(&tree, None).read()), 48.312);
}

#[test]
fn another_zone_is_named_by_type_or_number() {
    let tree = Tree::new();
    zone(&tree, 0, "cpu-thermal", "40000");
    zone(&tree, 1, "gpu-thermal", "-1500");
    zone(&tree, 2, "gpu-thermal", "45000");
    assert_eq!(value(sensor(&tree, Some("gpu-thermal")).read()), -1.5);
    assert_eq!(value(sensor(&tree, Some("thermal_zone2")).read()), 45.0);
    let error = sensor(&tree, Some("npu")).read().unwrap_err();
    assert_eq!(error.cause(), Cause::NotPresent);
    let want = "nothing to read at /sys/class/thermal: no zone is called `npu`; there is `cpu-thermal`, `gpu-thermal` and \
                `gpu-thermal`";
    assert_eq!(tree.text(&error), want);
}

#[test]
fn a_machine_without_zones_is_told_where_to_look() {
    let tree = Tree::new();
    tree.write("class/thermal/cooling_device0/type", "Processor\n");
    let error = sensor(&tree, None).read().unwrap_err();
    assert_eq!(error.cause(), Cause::NotPresent);
    assert!(tree.text(&error).ends_with("look for its processor with `chip = \"hwmon\"`"), "{error}");
}
