//! Tests of [`super`].

use proptest::prelude::*;

use super::*;

/// Returns the record of a process with a unique contender prefix.
pub(crate) fn process_record(process: u32, sessions: &[i64]) -> ProcessRecord {
    ProcessRecord {
        process,
        sessions: sessions.to_vec(),
        znodes: vec!["/mediciones/1".into(), "/atalaya/nodes/1".into()],
        election: "/election".into(),
        contender: format!("{process:032x}__lock__"),
        mark: Some(format!("mark{process:032x}")),
    }
}

fn any_process() -> impl Strategy<Value = ProcessRecord> {
    (any::<u32>(), proptest::collection::vec(any::<i64>(), 0..5))
        .prop_map(|(process, s)| process_record(process, &s))
}

#[test]
fn node_record_is_json_with_hexadecimal_sessions() {
    let mut record = NodeRecord::new("1", "zk1:2181/fleet");
    record.add_process(process_record(412, &[]));
    record.add_session(0x1_0000_2a3f_0001);
    record.add_session(-1);
    let text = String::from_utf8(record.text()).unwrap();
    for part in [
        r#""node": "1""#,
        r#""zookeeper": "zk1:2181/fleet""#,
        r#""0x100002a3f0001""#,
        r#""0xffffffffffffffff""#,
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert_eq!(NodeRecord::parse(text.as_bytes()).unwrap(), record);
}

#[test]
fn node_record_rejects_invalid_contents() {
    let mut record = NodeRecord::new("1", "zk1:2181");
    record.add_process(process_record(1, &[]));
    record.add_session(7);
    let good = String::from_utf8(record.text()).unwrap();
    assert!(NodeRecord::parse(good.as_bytes()).is_ok());
    for (part, instead) in [
        ("/mediciones/1", "mediciones"),
        ("/election", "/election/"),
        (record.processes[0].contender.as_str(), ""),
        (record.processes[0].mark.as_deref().unwrap(), "short"),
        ("0x7", "seven"),
        ("\"node\"", "\"mode\""),
    ] {
        assert!(NodeRecord::parse(good.replace(part, instead).as_bytes()).is_err(), "{part} as {instead}");
    }
    // Contents after a power failure.
    for torn in [&b""[..], b"\0\0\0\0", &good.as_bytes()[..good.len() / 2]] {
        assert!(NodeRecord::parse(torn).is_err());
    }
    // A field of a later version.
    assert!(NodeRecord::parse(good.replacen('{', r#"{"more": [1],"#, 1).as_bytes()).is_ok());
}

#[test]
fn node_record_keeps_the_newest_processes_and_sessions() {
    let mut record = NodeRecord::new("1", "zk1:2181");
    for process in 0..100 {
        record.add_process(process_record(process, &[]));
        for session in 0..100 {
            record.add_session(session);
        }
    }
    assert_eq!(
        (record.processes.len(), record.processes[0].process, record.processes[15].process),
        (16, 84, 99)
    );
    assert_eq!(record.processes[15].sessions, (84..100).collect::<Vec<_>>());
    record.add_process(process_record(100, &[]));
    record.add_process(process_record(101, &[]));
    assert!(!record.processes.iter().any(|process| process.process == 100), "it never had a session");
    record.remove_process(&process_record(99, &[]).contender);
    assert!(!record.processes.iter().any(|process| process.process == 99));
    assert!((record.text().len() as u64) < MAX_SIZE);
}

proptest! {
    #[test]
    fn process_owns_exactly_the_znodes_of_its_sessions(
        process in any_process(), owners in proptest::collection::vec(any::<i64>(), 0..5), zero: bool
    ) {
        let owners = owners.into_iter().chain(process.sessions.clone()).chain(zero.then_some(0));
        let found: Vec<Found> =
            owners.map(|owner| Found { path: "/mediciones/1".into(), owner, version: 3 }).collect();
        let owned = process.owned(&found);
        prop_assert!(owned.iter().all(|znode| znode.owner != 0 && process.sessions.contains(&znode.owner)));
        let missed = found.iter().filter(|znode| !owned.contains(znode));
        prop_assert!(missed.into_iter().all(|znode| znode.owner == 0 || !process.sessions.contains(&znode.owner)));
    }

    #[test]
    fn node_record_round_trips(processes in proptest::collection::vec(any_process(), 0..5), node in "\\PC{1,20}") {
        let record = NodeRecord { node, zookeeper: "zk1:2181".into(), processes };
        prop_assert_eq!(NodeRecord::parse(&record.text()).unwrap(), record);
    }

    #[test]
    fn node_record_parses_any_bytes_without_panic(bytes: Vec<u8>) {
        let _ = NodeRecord::parse(&bytes);
    }
}
