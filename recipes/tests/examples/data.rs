//! Examples that keep or follow data.

use crate::stage::Stage;

#[test]
fn counter() {
    let stage = Stage::new();
    let mut both = [stage.run("counter", &[]), stage.run("counter", &[])];
    for one in &mut both {
        one.says("it is at");
        one.ends();
    }
    let mut third = stage.run("counter", &[]);
    third.says("it is at 20");
    third.says("and now at 30");
    third.ends();
}

#[test]
fn party() {
    let stage = Stage::new();
    let mut a = stage.run("party", &["a"]);
    a.says("here: a");
    let mut b = stage.run("party", &["b"]);
    b.says("here: a, b");
    let both = a.says("here: a, b");
    b.is_stopped();
    b.says("left");
    a.says_after(both, "here: a");
    a.is_stopped();
}

#[test]
fn queue() {
    let stage = Stage::new();
    let mut put = stage.run("queue", &["one", "two"]);
    put.says("put one");
    put.says("put two");
    put.ends();
    let mut take = stage.run("queue", &[]);
    assert!(take.says("took one") <= take.says("took two"));
    take.says("there is no more");
    take.ends();
}

#[test]
fn locking_queue() {
    let stage = Stage::new();
    let mut put = stage.run("locking_queue", &["one", "two"]);
    put.says("put 2 jobs");
    put.ends();
    let mut work = stage.run("locking_queue", &[]);
    work.says("at one");
    work.says("done with one");
    work.says("done with two");
    work.says("there is no more");
    work.ends();
}

#[test]
fn persistent_node_and_those_who_follow_it() {
    let stage = Stage::new();
    let mut watch = stage.run("children_watch", &[]);
    let mut cache = stage.run("children_cache", &[]);
    let mut data = stage.run("data_watch", &["/mediciones/a"]);
    data.says("there is no /mediciones/a");
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
    watch.says("there is no /config/sampling_period");
    watch.is_stopped();
}
