//! Tests of [`super`].

use proptest::prelude::*;

use super::*;

pub(crate) fn life(process: u32, sessions: &[i64]) -> ProcessRecord {
    ProcessRecord {
        process,
        sessions: sessions.to_vec(),
        znodes: vec!["/mediciones/1".into(), "/atalaya/nodes/1".into()],
        election: "/election".into(),
        contender: format!("{process:032x}__lock__"),
    }
}

fn a_life() -> impl Strategy<Value = ProcessRecord> {
    (any::<u32>(), proptest::collection::vec(any::<i64>(), 0..5)).prop_map(|(process, s)| life(process, &s))
}

#[test]
fn as_it_stands_in_the_file() {
    let mut record = Record::new("1", "zk1:2181/fleet");
    record.begin(life(412, &[]));
    record.note(0x1_0000_2a3f_0001);
    record.note(-1);
    let text = String::from_utf8(record.text()).unwrap();
    for part in [
        r#""node": "1""#,
        r#""zookeeper": "zk1:2181/fleet""#,
        r#""0x100002a3f0001""#,
        r#""0xffffffffffffffff""#,
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert_eq!(Record::parse(text.as_bytes()).unwrap(), record);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut record = Record::new("1", "zk1:2181");
    record.begin(life(1, &[]));
    record.note(7);
    let good = String::from_utf8(record.text()).unwrap();
    assert!(Record::parse(good.as_bytes()).is_ok());
    for (part, instead) in [
        ("/mediciones/1", "mediciones"),
        ("/election", "/election/"),
        (record.lives[0].contender.as_str(), ""),
        ("0x7", "seven"),
        ("\"node\"", "\"mode\""),
    ] {
        assert!(Record::parse(good.replace(part, instead).as_bytes()).is_err(), "{part} as {instead}");
    }
    // What a power cut may leave.
    for torn in [&b""[..], b"\0\0\0\0", &good.as_bytes()[..good.len() / 2]] {
        assert!(Record::parse(torn).is_err());
    }
    // What a later version may add.
    assert!(Record::parse(good.replacen('{', r#"{"more": [1],"#, 1).as_bytes()).is_ok());
}

#[test]
fn only_the_newest_are_kept_and_the_idle_are_forgotten() {
    let mut record = Record::new("1", "zk1:2181");
    for process in 0..100 {
        record.begin(life(process, &[]));
        for session in 0..100 {
            record.note(session);
        }
    }
    assert_eq!((record.lives.len(), record.lives[0].process, record.lives[15].process), (16, 84, 99));
    assert_eq!(record.lives[15].sessions, (84..100).collect::<Vec<_>>());
    record.begin(life(100, &[]));
    record.begin(life(101, &[]));
    assert!(!record.lives.iter().any(|life| life.process == 100), "it never had a session");
    record.forget(&life(99, &[]).contender);
    assert!(!record.lives.iter().any(|life| life.process == 99));
    assert!((record.text().len() as u64) < LARGEST);
}

proptest! {
    #[test]
    fn nothing_is_left_by_a_life_but_what_its_sessions_own(
        life in a_life(), owners in proptest::collection::vec(any::<i64>(), 0..5), zero: bool
    ) {
        let owners = owners.into_iter().chain(life.sessions.clone()).chain(zero.then_some(0));
        let found: Vec<Found> =
            owners.map(|owner| Found { path: "/mediciones/1".into(), owner, version: 3 }).collect();
        let left = life.left(&found);
        prop_assert!(left.iter().all(|znode| znode.owner != 0 && life.sessions.contains(&znode.owner)));
        let missed = found.iter().filter(|znode| !left.contains(znode));
        prop_assert!(missed.into_iter().all(|znode| znode.owner == 0 || !life.sessions.contains(&znode.owner)));
    }

    #[test]
    fn what_was_written_is_read(lives in proptest::collection::vec(a_life(), 0..5), node in "\\PC{1,20}") {
        let record = Record { node, zookeeper: "zk1:2181".into(), lives };
        prop_assert_eq!(Record::parse(&record.text()).unwrap(), record);
    }

    #[test]
    fn anything_at_all_is_read_or_refused(bytes: Vec<u8>) {
        let _ = Record::parse(&bytes);
    }
}
