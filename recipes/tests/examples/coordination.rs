//! Examples that take turns, wait for each other or share work.

use std::time::Duration;

use crate::stage::Stage;

#[test]
fn election() {
    let stage = Stage::new();
    let mut first = stage.run("election", &["first"]);
    first.says("leading with the fencing token");
    let mut second = stage.run("election", &["second"]);
    second.says("Waiting");
    first.is_stopped();
    first.says("the session is closed");
    second.says("leading with the fencing token");
    second.is_stopped();
}

#[test]
fn lock() {
    let stage = Stage::new();
    let mut first = stage.run("lock", &[]);
    first.says("holding it, with the fencing token");
    let mut second = stage.run("lock", &[]);
    second.says("waiting");
    first.is_stopped();
    assert!(second.says("holding it") >= first.says("holding it"));
    first.says("released");
    second.is_stopped();
}

#[test]
fn read_write_lock() {
    let stage = Stage::new();
    let mut readers = [stage.run("read_write_lock", &["read"]), stage.run("read_write_lock", &[])];
    let reading = readers.each_ref().map(|reader| reader.says("reading, together with other readers"));
    let mut writer = stage.run("read_write_lock", &["write"]);
    writer.says("waiting to write");
    let done = readers.each_ref().map(|reader| reader.says("done"));
    assert!(reading.iter().max() < done.iter().min(), "together");
    let writing = writer.says("writing, alone, with the fencing token");
    // A thread reads the lines of each process and may be late, but hardly by most of the three seconds.
    let last = *done.iter().max().unwrap();
    assert!(writing + Duration::from_secs(2) > last);
    writer.says("done");
    for one in readers.iter_mut().chain([&mut writer]) {
        one.ends();
    }
}

#[test]
fn semaphore() {
    let stage = Stage::new();
    let mut two = [stage.run("semaphore", &[]), stage.run("semaphore", &[])];
    let begun = two.each_ref().map(|one| one.says("downloading, at /semaphores/downloads/"));
    let mut third = stage.run("semaphore", &[]);
    third.says("waiting for one of two permits");
    let waited = third.says("downloading") - *begun.iter().min().unwrap();
    // Three seconds as in `read_write_lock` above.
    assert!(waited > Duration::from_secs(1), "{waited:?}");
    for one in two.iter_mut().chain([&mut third]) {
        one.ends_after(&["done"]);
    }
}

#[test]
fn barrier() {
    let stage = Stage::new();
    stage.run("barrier", &["close"]).ends_after(&["closed, generation"]);
    let mut waits = stage.run("barrier", &[]);
    waits.says("waiting");
    stage.run("barrier", &["open"]).ends_after(&["opened"]);
    waits.ends_after(&["it is open"]);
    stage.run("barrier", &["open"]).ends_after(&["it was open"]);
}

#[test]
fn double_barrier() {
    let stage = Stage::new();
    let mut first = stage.run("double_barrier", &[]);
    first.says("waiting for 2 processes");
    let mut second = stage.run("double_barrier", &["2"]);
    for one in [&mut first, &mut second] {
        one.ends_after(&["all have entered", "all are done"]);
    }
}

#[test]
fn lease() {
    let stage = Stage::new();
    for name in ["a", "a"] {
        stage.run("lease", &[name]).ends_after(&["held for 1", "done, and still held"]);
    }
    stage.run("lease", &["b"]).ends_after(&["held by a for 1"]);
}

#[test]
fn set_partitioner() {
    let stage = Stage::new();
    let mut a = stage.run("set_partitioner", &["a"]);
    let alone = a.says("polling bus 1, bus 2, bus 3, bus 4");
    let mut b = stage.run("set_partitioner", &["b"]);
    b.says("polling bus 2, bus 4");
    let shared = a.says_after(alone, "polling bus 1, bus 3");
    b.is_stopped();
    b.says("released");
    a.says_after(shared, "polling bus 1, bus 2, bus 3, bus 4");
    a.is_stopped();
}
