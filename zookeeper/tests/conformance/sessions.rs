//! Tests of sessions: opening, reattaching from another connection, and ending.

use std::time::{Duration, Instant};

use crate::raw::{Hello, Packet, Raw, op};
use crate::target::{TICK, Target};
use crate::wire::Body;

on_both!(
    timeouts_are_negotiated,
    clients_without_the_read_only_flag_do_not_receive_it,
    session_is_reattached_with_id_and_password,
    wrong_password_or_id_is_answered_as_expired,
    client_with_a_later_zxid_is_disconnected,
    ephemerals_of_a_closed_session_are_deleted,
    a_silent_session_expires,
    pings_keep_a_session,
    a_session_outlives_its_connection,
);

fn timeouts_are_negotiated(target: &Target) {
    // At least 2 ticks; at most the limit that the test bed configures for both.
    for (wanted, got) in
        [(0, 1_000), (-1, 1_000), (999, 1_000), (1_000, 1_000), (12_345, 12_345), (50_000, 40_000)]
    {
        let raw = Raw::hello(&target.hosts(), &Hello { timeout: wanted, ..Hello::default() }).unwrap();
        assert_eq!(raw.timeout, got, "{wanted}");
        assert_eq!(raw.password.len(), 16);
        assert_ne!(raw.session, 0);
        raw.close();
    }
}

fn clients_without_the_read_only_flag_do_not_receive_it(target: &Target) {
    for (read_only, rest) in [(None, vec![]), (Some(false), vec![0]), (Some(true), vec![0])] {
        let raw = Raw::hello(&target.hosts(), &Hello { read_only, ..Hello::default() }).unwrap();
        assert_eq!(raw.rest, rest, "{read_only:?}");
        raw.close();
    }
}

fn session_is_reattached_with_id_and_password(target: &Target) {
    let mut first = Raw::connect(&target.hosts());
    let path = target.path("/e");
    first.create(&path, b"", 1).unwrap();
    let again = Hello { timeout: 5_000, ..first.reconnect() };
    let mut second = Raw::hello(&target.hosts(), &again).unwrap();
    assert_eq!((second.session, &second.password), (first.session, &first.password));
    assert_eq!(second.timeout, 5_000);
    assert_eq!(second.exists(&path, false).unwrap().ephemeral_owner, first.session);
    // The session is on the new connection only.
    assert_eq!(first.next(), Packet::Closed);
    second.set(&path, b"").unwrap();
}

fn wrong_password_or_id_is_answered_as_expired(target: &Target) {
    let (mut raw, path) = target.raw("/e");
    raw.create(&path, b"", 1).unwrap();
    let hellos = [
        Hello { session: raw.session + 1_000_000, ..raw.reconnect() },
        Hello { session: raw.session + 1_000_000, password: vec![], ..raw.reconnect() },
    ];
    for hello in hellos {
        let mut refused = Raw::hello(&target.hosts(), &hello).unwrap();
        assert_eq!((refused.timeout, refused.session, &refused.password[..]), (0, 0, &[0; 16][..]));
        assert_eq!(refused.next(), Packet::Closed);
    }
    let mut refused =
        Raw::hello(&target.hosts(), &Hello { password: vec![1; 16], ..raw.reconnect() }).unwrap();
    assert_eq!((refused.timeout, refused.session), (0, 0));
    assert_eq!(refused.next(), Packet::Closed);
    let mut again = Raw::hello(&target.hosts(), &raw.reconnect()).unwrap();
    assert_eq!(again.exists(&path, false).unwrap().ephemeral_owner, raw.session);
}

fn client_with_a_later_zxid_is_disconnected(target: &Target) {
    let hello = Hello { last_zxid: 1 << 60, ..Hello::default() };
    assert!(Raw::hello(&target.hosts(), &hello).is_none());
}

fn ephemerals_of_a_closed_session_are_deleted(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    let mut watcher = Raw::connect(&target.hosts());
    let (a, b) = (target.path("/a"), target.path("/b"));
    raw.create(&a, b"", 1).unwrap();
    raw.create(&b, b"", 0).unwrap();
    watcher.exists(&a, true).unwrap();
    // Its own watch fires before the reply to the close.
    raw.exists(&a, true).unwrap();
    let (before, reply) = raw.exchange(op::CLOSE_SESSION, &Body::new());
    let deleted = Packet::Event { kind: 2, state: 3, path: a.clone() };
    assert_eq!((before, reply), (vec![deleted.clone()], Ok(vec![])));
    assert_eq!(raw.next(), Packet::Closed);
    assert_eq!(watcher.received(), [deleted]);
    assert_eq!(watcher.exists(&a, false), Err(-101));
    watcher.exists(&b, false).unwrap();
    let mut refused = Raw::hello(&target.hosts(), &raw.reconnect()).unwrap();
    assert_eq!((refused.timeout, refused.session), (0, 0));
    assert_eq!(refused.next(), Packet::Closed);
}

/// Waits for the session to expire, or advances the clock if the server supports it.
fn silence(target: &Target, ticks: u32) {
    if let Some(faults) = target.faults() {
        target.run(faults.advance_clock(TICK * ticks));
    }
}

fn a_silent_session_expires(target: &Target) {
    let mut watcher = Raw::hello(&target.hosts(), &Hello { timeout: 30_000, ..Hello::default() }).unwrap();
    let mut raw = Raw::hello(&target.hosts(), &Hello { timeout: 4_000, ..Hello::default() }).unwrap();
    let path = target.path("/e");
    let silent = Instant::now();
    raw.create(&path, b"", 1).unwrap();
    watcher.exists(&path, true).unwrap();
    silence(target, 10);
    assert_eq!(watcher.next(), Packet::Event { kind: 2, state: 3, path: path.clone() });
    if target.faults().is_none() {
        // After its timeout and at most one tick; later on a busy machine.
        assert!((Duration::from_millis(3_900)..Duration::from_secs(13)).contains(&silent.elapsed()));
    }
    assert_eq!(raw.next(), Packet::Closed);
    assert_eq!(watcher.exists(&path, false), Err(-101));
    let mut refused = Raw::hello(&target.hosts(), &raw.reconnect()).unwrap();
    assert_eq!((refused.timeout, refused.session), (0, 0));
    assert_eq!(refused.next(), Packet::Closed);
}

fn pings_keep_a_session(target: &Target) {
    // Long enough for a pause of the machine.
    let mut raw = Raw::hello(&target.hosts(), &Hello { timeout: 5_000, ..Hello::default() }).unwrap();
    let mut other = Raw::hello(&target.hosts(), &Hello { timeout: 5_000, ..Hello::default() }).unwrap();
    let (kept, lost) = (target.path("/kept"), target.path("/lost"));
    raw.create(&kept, b"", 1).unwrap();
    other.create(&lost, b"", 1).unwrap();
    // Until the other session, which is equally old, has expired and one more timeout has passed.
    let deadline = Instant::now() + Duration::from_secs(30);
    while raw.exists(&lost, false).is_ok() {
        silence(target, 1);
        assert_eq!(raw.received(), []);
        assert!(Instant::now() < deadline);
    }
    assert!(raw.exists(&kept, false).is_ok());
}

fn a_session_outlives_its_connection(target: &Target) {
    let (mut raw, path) = target.raw("/e");
    raw.create(&path, b"", 1).unwrap();
    let hello = raw.reconnect();
    drop(raw);
    let mut other = Raw::connect(&target.hosts());
    assert!(other.exists(&path, false).is_ok());
    let mut again = Raw::hello(&target.hosts(), &hello).unwrap();
    assert_eq!(again.exists(&path, false).unwrap().ephemeral_owner, hello.session);
    again.close();
    assert_eq!(other.exists(&path, false), Err(-101));
}
