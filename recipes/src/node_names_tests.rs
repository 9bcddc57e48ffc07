//! Names of contenders, their order, and which contender waits for which.

use proptest::prelude::*;

use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn kazoo_naming_accepts_exactly_the_names_of_kazoo_contenders() {
    let role = Role::from(Naming::Kazoo);
    assert_eq!(role.sequence("0a1b__lock__0000000012"), Some("0000000012"));
    for other in [
        "0a1b__lock__12",
        "0a1b__lock__00000000123",
        "0a1b__lock__-000000001",
        "0a1b__rlock__0000000012",
        "_c_1-latch-0000000012",
        "0000000012",
        "ñ__lock__000000001é",
        "",
    ] {
        assert_eq!(role.sequence(other), None, "{other}");
    }
    assert_eq!(Role::Writer.sequence("0a1b__rlock__0000000012"), Some("0000000012"));
}

#[test]
fn contender_names_are_those_of_kazoo_and_curator() {
    let id = ContenderId::from_number(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    let prefix = |role: Role| role.prefix(&id);
    assert_eq!(prefix(Naming::Kazoo.into()), "0123456789abcdef0123456789abcdef__lock__");
    assert_eq!(prefix(Role::Writer), "0123456789abcdef0123456789abcdef__lock__");
    assert_eq!(prefix(Role::Reader), "0123456789abcdef0123456789abcdef__rlock__");
    assert_eq!(prefix(Naming::CuratorLatch.into()), "_c_01234567-89ab-cdef-0123-456789abcdef-latch-");
    assert_eq!(prefix(Naming::CuratorLock.into()), "_c_01234567-89ab-cdef-0123-456789abcdef-lock-");
}

#[test]
fn contenders_are_sorted_by_sequence_number_not_by_name() {
    let children = names(&["b__lock__0000000002", "a__lock__0000000010", "junk", "c__lock__0000000001"]);
    assert_eq!(
        sorted_contenders(Naming::Kazoo, &children),
        ["c__lock__0000000001", "b__lock__0000000002", "a__lock__0000000010"]
    );
    assert_eq!(position(Naming::Kazoo, &children, "c__lock__0000000001"), Position::First);
    assert_eq!(
        position(Naming::Kazoo, &children, "a__lock__0000000010"),
        Position::Behind { predecessor: "b__lock__0000000002".into(), ahead: 2 }
    );
    assert_eq!(position(Naming::Kazoo, &children, "d__lock__0000000000"), Position::Absent);
}

/// `StandardLockInternalsDriver.standardFixForSorting`: the text after the last marker, or the whole name. No child is
/// left out.
#[test]
fn curator_naming_sorts_every_child_by_the_text_after_the_marker() {
    let children =
        names(&["_c_f-lock-0000000002", "zz", "lock-0000000001", "00", "_c_0-lock-lock-0000000003"]);
    assert_eq!(
        sorted_contenders(Naming::CuratorLock, &children),
        ["00", "lock-0000000001", "_c_f-lock-0000000002", "_c_0-lock-lock-0000000003", "zz"]
    );
    assert_eq!(
        position(Naming::CuratorLock, &children, "lock-0000000001"),
        Position::Behind { predecessor: "00".into(), ahead: 1 }
    );
}

/// `ReadLock._EXCLUDE_NAMES` and `WriteLock._EXCLUDE_NAMES`.
#[test]
fn readers_wait_for_writers_and_writers_for_all() {
    let children = names(&[
        "a__rlock__0000000000",
        "b__rlock__0000000001",
        "c__lock__0000000002",
        "d__rlock__0000000003",
        "e__lock__0000000004",
    ]);
    let behind = |name: &str, ahead| Position::Behind { predecessor: name.to_owned(), ahead };
    assert_eq!(position(Role::Reader, &children, "a__rlock__0000000000"), Position::First);
    assert_eq!(position(Role::Reader, &children, "b__rlock__0000000001"), Position::First);
    assert_eq!(position(Role::Writer, &children, "c__lock__0000000002"), behind("b__rlock__0000000001", 2));
    assert_eq!(position(Role::Reader, &children, "d__rlock__0000000003"), behind("c__lock__0000000002", 1));
    assert_eq!(position(Role::Writer, &children, "e__lock__0000000004"), behind("d__rlock__0000000003", 4));
    // A plain lock ignores readers, as Kazoo's does.
    assert_eq!(position(Naming::Kazoo, &children, "c__lock__0000000002"), Position::First);
    assert!(!Role::Reader.waits_for(&children[0]) && Role::Writer.waits_for(&children[0]));
    assert!(Role::Reader.waits_for(&children[2]) && !Role::from(Naming::Kazoo).waits_for(&children[0]));
}

#[test]
fn contender_id_owns_only_its_own_names() {
    let (id, other) = (ContenderId::from_number(7), ContenderId::from_number(8));
    for role in [Naming::Kazoo.into(), Naming::CuratorLatch.into(), Naming::CuratorLock.into(), Role::Reader]
    {
        let name = format!("{}0000000001", role.prefix(&id));
        assert!(id.owns(&name) && !other.owns(&name), "{name}");
    }
    assert!(!id.owns("") && !id.owns("_c_"));
}

#[test]
fn contenders_with_the_last_number_wait_for_each_other() {
    let both = names(&["a__lock__2147483647", "b__lock__2147483647"]);
    for (own, other) in [(0, 1), (1, 0)] {
        let behind = Position::Behind { predecessor: both[other].clone(), ahead: 1 };
        assert_eq!(position(Naming::Kazoo, &both, &both[own]), behind);
        assert_eq!(position(Naming::Kazoo, &both[own..=own], &both[own]), Position::First);
    }
    let earlier = names(&["b__lock__2147483646", "a__lock__2147483647"]);
    assert_eq!(position(Naming::Kazoo, &earlier, &earlier[0]), Position::First);
    // A reader does not wait for readers.
    let readers = names(&["a__rlock__2147483647", "b__rlock__2147483647"]);
    assert_eq!(position(Role::Reader, &readers, &readers[0]), Position::First);
}

#[test]
fn contenders_with_negative_numbers_are_not_kazoo_contenders_and_not_ahead_of_curator_contenders() {
    assert_eq!(Role::from(Naming::Kazoo).sequence("a__lock__-2147483648"), None);
    let children = names(&["_c_a-lock-2147483646", "_c_b-lock--2147483648", "zz"]);
    assert_eq!(
        position(Naming::CuratorLock, &children, &children[1]),
        Position::Behind { predecessor: children[0].clone(), ahead: 1 }
    );
}

fn naming() -> impl Strategy<Value = Naming> {
    prop_oneof![Just(Naming::Kazoo), Just(Naming::CuratorLatch), Just(Naming::CuratorLock)]
}

fn number() -> impl Strategy<Value = u32> {
    0u32..2_000_000_000
}

proptest! {
    /// One contender is first, each other one is behind another, and following predecessors leads to the first. With
    /// Curator's naming every child is in the queue, so other children are added only with Kazoo's.
    #[test]
    fn exactly_one_contender_is_first_and_predecessors_are_ordered(
        naming in naming(),
        numbers in prop::collection::hash_set(number(), 1..40),
        junk in prop::collection::vec(".{0,20}", 0..5),
    ) {
        let own: Vec<String> = numbers.iter().enumerate()
            .map(|(i, n)| format!("{}{n:010}", Role::from(naming).prefix(&ContenderId::from_number(i as u128)))).collect();
        let mut children = own.clone();
        if naming == Naming::Kazoo { children.extend(junk); }
        let mut firsts = 0;
        for name in &own {
            match position(naming, &children, name) {
                Position::First => firsts += 1,
                Position::Behind { predecessor, ahead } => {
                    prop_assert!(Role::from(naming).sequence(&predecessor) < Role::from(naming).sequence(name));
                    let before = own.iter().filter(|other| Role::from(naming).sequence(other) < Role::from(naming).sequence(name)).count();
                    prop_assert_eq!(ahead, before);
                }
                Position::Absent => prop_assert!(false, "own znode not found"),
            }
        }
        prop_assert_eq!(firsts, 1);
    }

    /// A contender without a predecessor holds. A writer never holds beside another contender, and at least one
    /// contender holds. Each waiting contender waits, directly or not, for a holder, so no two wait for each other
    /// (kazoo 649).
    #[test]
    fn readers_hold_together_writers_alone_and_no_contenders_wait_in_a_circle(
        contenders in prop::collection::hash_map(number(), any::<bool>(), 1..30),
    ) {
        let role = |reads: bool| if reads { Role::Reader } else { Role::Writer };
        let own: Vec<(Role, String)> = contenders.iter().enumerate()
            .map(|(i, (n, reads))| {
                let prefix = role(*reads).prefix(&ContenderId::from_number(i as u128));
                (role(*reads), format!("{prefix}{n:010}"))
            })
            .collect();
        let children: Vec<String> = own.iter().map(|(_, name)| name.clone()).collect();
        let holders: Vec<&(Role, String)> =
            own.iter().filter(|(role, name)| position(*role, &children, name) == Position::First).collect();
        prop_assert!(!holders.is_empty());
        if holders.iter().any(|(role, _)| *role == Role::Writer) { prop_assert_eq!(holders.len(), 1); }
        for (role, name) in &own {
            if let Position::Behind { predecessor, .. } = position(*role, &children, name) {
                prop_assert!(Role::Writer.sequence(&predecessor) < Role::Writer.sequence(name));
            }
        }
    }

    /// Contenders join and leave around the last sequence number. A new contender is never first while an earlier one
    /// exists.
    #[test]
    fn new_contender_is_never_first_while_an_earlier_one_exists(
        naming in naming(),
        start in i64::from(i32::MAX) - 6..=i64::from(i32::MAX),
        arrivals in prop::collection::vec((any::<u128>(), any::<bool>(), any::<bool>()), 1..15),
    ) {
        let mut children: Vec<String> = Vec::new();
        for (count, (id, together, leaves)) in arrivals.into_iter().enumerate() {
            // Children that are created at the same time can get negative numbers after the last one.
            let number = start + i64::try_from(count).unwrap();
            let number = if together { number as i32 } else { i32::try_from(number).unwrap_or(i32::MAX) };
            let own = format!("{}{number:010}", Role::from(naming).prefix(&ContenderId::from_number(id)));
            let earlier = children.iter().filter(|name| Role::from(naming).sequence(name).is_some()).count();
            children.push(own.clone());
            children.sort();
            if earlier > 0 {
                prop_assert_ne!(position(naming, &children, &own), Position::First, "{:?}", children);
            }
            if leaves {
                children.remove(0);
            }
        }
    }

    #[test]
    fn any_name_is_handled_without_a_panic(name in ".{0,30}", id in any::<u128>()) {
        let naming = [Naming::Kazoo, Naming::CuratorLatch, Naming::CuratorLock].map(Role::from);
        for role in naming.into_iter().chain([Role::Reader, Role::Writer]) {
            let _ = (role.sequence(&name), role.waits_for(&name), position(role, std::slice::from_ref(&name), &name));
        }
        prop_assert!(!ContenderId::from_number(id).owns(&name));
    }
}
