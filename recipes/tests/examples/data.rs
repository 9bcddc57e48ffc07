//! Examples that keep or follow data.

use crate::stage::Stage;

#[test]
fn counter() {
    let stage = Stage::new();
    let mut both = [stage.run("counter", &[]), stage.run("counter", &[])];
    for one in &mut both {
        one.ends_after(&["value: "]);
    }
    stage.run("counter", &[]).ends_after(&["value: 20", "after the addition: 30"]);
}

#[test]
fn party() {
    let stage = Stage::new();
    let mut a = stage.run("party", &["a"]);
    a.says("members: a");
    let mut b = stage.run("party", &["b"]);
    b.says("members: a, b");
    let both = a.says("members: a, b");
    b.is_stopped();
    b.says("left");
    a.says_after(both, "members: a");
    a.is_stopped();
}

#[test]
fn queue() {
    let stage = Stage::new();
    stage.run("queue", &["one", "two"]).ends_after(&["put one", "put two"]);
    let mut take = stage.run("queue", &[]);
    assert!(take.says("took one") <= take.says("took two"));
    take.ends_after(&["the queue is empty"]);
}

#[test]
fn locking_queue() {
    let stage = Stage::new();
    stage.run("locking_queue", &["one", "two"]).ends_after(&["put 2 jobs"]);
    let lines = ["processing one", "processed one", "processed two", "the queue is empty"];
    stage.run("locking_queue", &[]).ends_after(&lines);
}

#[test]
fn persistent_node_and_those_who_follow_it() {
    let stage = Stage::new();
    let mut watch = stage.run("children_watch", &[]);
    let mut cache = stage.run("children_cache", &[]);
    let mut data = stage.run("data_watch", &["/mediciones/a"]);
    data.says("/mediciones/a does not exist");
    let mut a = stage.run("persistent_node", &["a"]);
    a.says("held, stored 1 times");
    watch.says("1: a");
    cache.says("a=");
    data.says("version 0: ");
    let mut b = stage.run("persistent_node", &["b"]);
    let both = watch.says("2: a, b");
    cache.says(" b=");
    a.is_stopped();
    watch.says_after(both, "1: b");
    for one in [&mut b, &mut watch, &mut cache, &mut data] {
        one.is_stopped();
    }
}

#[test]
fn a_second_persistent_node_of_a_name_gives_up() {
    let stage = Stage::new();
    let mut a = stage.run("persistent_node", &["a"]);
    a.says("held, stored 1 times");
    stage.run("persistent_node", &["a"]).fails("Error: ");
    a.is_stopped();
}

#[test]
fn data_watch() {
    let stage = Stage::new();
    let mut watch = stage.run("data_watch", &[]);
    watch.says("/config/sampling_period does not exist");
    watch.is_stopped();
}
