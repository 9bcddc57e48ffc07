use super::*;

const NOW: Duration = Duration::from_secs(1_000_000);

fn znode(name: &str, data: &str, owner: i64) -> Znode {
    let created = (NOW - Duration::from_secs(90)).as_millis() as i64;
    let stat = Stat { ephemeral_owner: owner, ..crate::fleet_status::tests::stat(created, created) };
    Znode { name: name.to_owned(), data: data.as_bytes().to_vec(), stat }
}

fn inspect(own: &str, children: &[(&str, &str)]) -> Inspection {
    let children: Vec<Znode> = children.iter().map(|(name, data)| znode(name, data, 7)).collect();
    Inspection::new(&znode("/path", own, 0), &children, SystemTime::UNIX_EPOCH + NOW)
}

const A: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn inspection_lists_contenders_in_order_and_marks_the_holder() {
    let (first, second) = (format!("f{}__lock__0000000003", &A[1..]), format!("{A}__lock__0000000012"));
    let inspection = inspect("", &[(&second, "two"), ("other", ""), (&first, "one")]);
    assert_eq!(inspection.kind, Kind::KazooContenders);
    let contenders: Vec<_> =
        inspection.entries.iter().map(|entry| (entry.place, entry.holds, &*entry.data)).collect();
    assert_eq!(contenders, [(Some(1), Some(true), "one"), (Some(2), Some(false), "two"), (None, None, "")]);
    let text = table(&inspection);
    assert!(text.contains("/path: lock or election; 1 of 2 contenders holds it"), "{text}");
    assert!(text.contains("1m 30s") && text.contains("0x7") && text.contains("holds"), "{text}");
}

#[test]
fn inspection_marks_all_readers_ahead_of_a_writer_as_holders() {
    let name = |marker: &str, number: u32| format!("{A}__{marker}__{number:010}");
    let (one, two, writer) = (name("rlock", 1), name("rlock", 2), name("lock", 3));
    let inspection = inspect("", &[(&one, ""), (&two, ""), (&writer, "")]);
    let holds: Vec<_> = inspection.entries.iter().map(|entry| entry.holds).collect();
    assert_eq!(holds, [Some(true), Some(true), Some(false)]);
}

#[test]
fn inspection_recognises_each_recipe() {
    let party = format!("{A}__party__");
    for (data, children, kind) in [
        ("", &[("_c_1-latch-0000000001", "")][..], Kind::CuratorLatch),
        ("", &[("_c_1-lock-0000000001", "")], Kind::CuratorLock),
        ("", &[(&party, "")], Kind::Party),
        ("", &[("entry-100-0000000001", "")], Kind::Queue),
        ("", &[("entries", ""), ("taken", "")], Kind::LockingQueue),
        ("", &[(A, ""), ("ready", "")], Kind::DoubleBarrier),
        ("3", &[(A, "")], Kind::Semaphore),
        ("42", &[], Kind::Number),
        ("", &[("1", "78.4")], Kind::Znode),
    ] {
        assert_eq!(inspect(data, children).kind, kind, "{children:?}");
    }
}

#[test]
fn data_is_shown_as_one_short_line() {
    for data in [&b"\x00\x1b[31m\n"[..], &[0xff; 3], "ñ".repeat(1_000).as_bytes(), &vec![b'x'; 1 << 20]] {
        let text = printable(data);
        assert!(text.chars().count() < 300 && !text.chars().any(char::is_control), "{text:?}");
    }
    assert_eq!(printable("78.4 °C".as_bytes()), "78.4 °C");
}

#[test]
fn tree_is_indented() {
    let entry = |name: &str| Entry::new(&znode(name, "x", 0), SystemTime::UNIX_EPOCH + NOW);
    let text = tree(&[(0, entry("/")), (1, entry("a")), (2, entry("b"))]);
    assert_eq!(text, "/  \"x\"  1m 30s\n  a  \"x\"  1m 30s\n    b  \"x\"  1m 30s\n");
}

#[test]
fn inspection_shows_the_remedy_for_a_persistent_contender() {
    let (persistent, live) = (format!("{A}__lock__0000000003"), format!("{A}__lock__0000000012"));
    let children = [znode(&persistent, "", 0), znode(&live, "", 7), znode("note", "", 0)];
    let inspection = Inspection::new(&znode("/election", "", 0), &children, SystemTime::UNIX_EPOCH + NOW);
    let problems: Vec<_> = inspection.entries.iter().map(|entry| entry.problem).collect();
    assert_eq!(problems, [Some("not_ephemeral"), None, None]);
    let text = table(&inspection);
    assert!(text.contains(&format!("zkCli.sh deleteall /election/{persistent}")), "{text}");
    assert!(!table(&inspect("", &[(&live, "")])).contains("wrong type"));
}

#[test]
fn inspection_finds_queue_znodes_of_the_wrong_type() {
    let blocked = Stat { num_children: 1, ..znode("", "", 0).stat };
    let entry = Znode { stat: blocked, ..znode("entry-100-0000000001", "", 0) };
    let wrong = Kind::Queue.wrong_type("/queue", &entry).unwrap();
    assert_eq!((&*wrong.path, wrong.problem.name()), ("/queue/entry-100-0000000001", "has_children"));
    let taken = znode("entry-100-0000000001", "", 0);
    assert_eq!(Kind::Queue.wrong_type("/queue/taken", &taken).unwrap().problem.name(), "not_ephemeral");
    assert_eq!(Kind::Queue.wrong_type("/queue", &taken), None);
}
