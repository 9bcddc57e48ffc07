use std::time::Duration;

use atalaya_testbed::Redis;

use super::*;
use crate::store::suite::{at, fleet, keyed, means, store_suite, unavailable_because};

/// Configuration that a store requires.
const KEEPING: &str = "appendonly yes\nappendfsync always";

fn open(server: &Redis) -> RedisStore {
    open_at(&server.url())
}

/// Opens a store with timeouts for a busy machine.
fn open_at(url: &str) -> RedisStore {
    let (command_timeout, read_timeout) = (Duration::from_secs(20), Duration::from_secs(60));
    RedisStore::open(RedisOptions { command_timeout, read_timeout, ..RedisOptions::new(url).unwrap() })
        .unwrap()
}

/// Starts a server and opens a store.
fn started() -> (Redis, RedisStore) {
    let server = Redis::with(KEEPING);
    let store = open(&server);
    (server, store)
}

store_suite!(|_| {
    let (server, store) = started();
    (store, server)
});

fn one(cycle: i64) -> Vec<Report> {
    vec![keyed(7, cycle, None, 1.0)]
}

#[tokio::test]
async fn recorded_reports_are_present_after_reopening() {
    let (mut server, store) = started();
    assert_eq!(store.record(one(1)).await.unwrap(), [Outcome::Recorded(1)]);
    store.close().await;
    assert_eq!(store.record(one(2)).await, Err(StoreError::closed()));
    assert_eq!(store.newest().await, Err(StoreError::closed()));
    server.kill();
    server.restart();
    let store = open(&server);
    assert_eq!(store.record(one(1)).await.unwrap(), [Outcome::Repeated]);
    assert_eq!(store.record(one(2)).await.unwrap(), [Outcome::Recorded(2)]);
}

#[tokio::test]
async fn waiting_calls_are_one_script() {
    let (mut server, store) = started();
    store.check().await.unwrap();
    let before = store.commits();
    server.stop_process();
    let tries = futures_util::future::join_all((0..500).map(|cycle| store.record(one(cycle))));
    // All calls have started before the server continues: they are polled first.
    let (outcomes, ()) = futures_util::future::join(tries, async { server.continue_process() }).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert!(store.commits() - before <= 2, "{} scripts", store.commits() - before);
}

#[tokio::test]
async fn batch_whose_reports_refuse_one_another_is_one_script() {
    let (_server, store) = started();
    store.record(one(1)).await.unwrap();
    let batch = [(9, 5), (8, 5), (9, 5), (7, 1), (8, 4)];
    let outcomes =
        store.record(batch.map(|(epoch, cycle)| keyed(epoch, cycle, None, 1.0)).to_vec()).await.unwrap();
    let stale = Outcome::Stale(crate::fence::Stale { epoch: 9, first_cycle: 5 });
    let repeated = || Outcome::Repeated;
    assert_eq!(outcomes, [Outcome::Recorded(2), stale, repeated(), repeated(), Outcome::Recorded(3)]);
    assert_eq!(store.commits(), 2);
}

/// The script passes lists to Redis in parts, because Lua's stack is limited.
#[tokio::test]
async fn batch_may_be_larger_than_the_stack_of_lua() {
    const COUNT: i64 = 2_100;
    let server = Redis::with(KEEPING);
    let command_timeout = Duration::from_secs(60);
    let options = RedisOptions { command_timeout, ..RedisOptions::new(&server.url()).unwrap() };
    let store = RedisStore::open(options).unwrap();
    let reports: Vec<Report> =
        (0..COUNT).map(|cycle| keyed(7, cycle, Some(&format!("u{cycle}")), 1.0)).collect();
    let outcomes = store.record(reports.clone()).await.unwrap();
    assert_eq!(outcomes, (1..=COUNT).map(Outcome::Recorded).collect::<Vec<_>>());
    let points = store.series(Filter::default(), crate::store::interface::HOUR, 10_000).await.unwrap();
    assert_eq!(points.iter().map(|point| point.reports).sum::<i64>(), COUNT);
    assert_eq!(means(&store).await.len(), 2_100);
    let repeats = store.record(reports).await.unwrap();
    assert!(repeats.iter().all(|outcome| *outcome == Outcome::Repeated));
}

#[tokio::test]
async fn missing_durability_settings_are_set_permanently() {
    let mut server = Redis::with("appendfsync everysec\nno-appendfsync-on-rewrite yes");
    let store = open(&server);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    // The server accepts nothing until its first append-only file is written.
    while let Err(error) = store.record(one(1)).await {
        unavailable_because(&Err::<(), _>(error), "append-only file");
        assert!(std::time::Instant::now() < deadline);
    }
    let set = |name| server.ask(&["CONFIG", "GET", name]).lines().nth(1).map(str::to_owned);
    let found = ["appendonly", "appendfsync", "no-appendfsync-on-rewrite"].map(set);
    assert_eq!(found.map(Option::unwrap), ["yes", "always", "no"]);
    server.kill();
    server.restart();
    assert_eq!(store.record(one(1)).await.unwrap(), [Outcome::Repeated]);
}

#[tokio::test]
async fn server_without_durability_is_refused() {
    for (configuration, why) in [
        // The setting cannot be made permanent.
        ("user default on nopass ~* &* +@all -config|rewrite", "set appendonly yes"),
        ("user default on nopass ~* &* +@all -config|set", "set appendonly yes"),
        ("appendonly yes\nuser default on nopass ~* &* +@all -config|set", "set appendfsync always"),
        ("rename-command CONFIG \"\"", "set appendonly yes"),
        ("appendonly yes\nappendfsync always\nmaxmemory 1gb\nmaxmemory-policy allkeys-lru", "noeviction"),
        ("appendonly yes\nappendfsync always\nrequirepass secret", "password"),
        ("appendonly yes\nuser default on nopass ~* &* +@all -evalsha", "rights"),
    ] {
        let server = Redis::with(configuration);
        let store = open(&server);
        unavailable_because(&store.check().await, why);
        // The second attempt fails too.
        unavailable_because(&store.record(one(1)).await, why);
        let size = server.try_ask(&["DBSIZE"]).unwrap();
        assert!(["0", "-NOAUTH Authentication required."].contains(&size.as_str()));
    }
}

#[tokio::test]
async fn server_that_hides_its_configuration_is_used() {
    let server = Redis::with("appendonly yes\nappendfsync always\nrename-command CONFIG \"\"");
    let store = open(&server);
    assert_eq!(store.record(one(1)).await.unwrap(), [Outcome::Recorded(1)]);
    // Redis evicts only keys with an expiry, and the keys of the store have none.
    let server =
        Redis::with("appendonly yes\nappendfsync always\nmaxmemory 1gb\nmaxmemory-policy volatile-lru");
    open(&server).check().await.unwrap();
}

#[tokio::test]
async fn passwords_databases_and_prefixes_are_used() {
    let server = Redis::with("appendonly yes\nappendfsync always\nrequirepass p%ss");
    let at = |rest: &str| open_at(&format!("redis://:p%25ss@127.0.0.1:{}{rest}", server.port()));
    for (index, rest) in ["", "/3", "?prefix=other", "/3?prefix=other"].into_iter().enumerate() {
        assert_eq!(at(rest).record(one(1)).await.unwrap(), [Outcome::Recorded(1)], "{index}");
    }
    assert_eq!(at("/0?prefix=atalaya").record(one(1)).await.unwrap(), [Outcome::Repeated]);
    let shown = format!("{:?}", RedisOptions::new("redis://me:secret@host:1/2").unwrap());
    assert!(shown.contains("host:1") && !shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn data_of_a_later_version_is_not_modified() {
    let (server, store) = started();
    store.record(one(1)).await.unwrap();
    // The version also changes while the store is connected.
    server.ask(&["HSET", "atalaya:meta", "version", "99"]);
    let before = server.ask(&["DEBUG", "DIGEST"]);
    unavailable_because(&store.record(one(2)).await, "version");
    let horizon = Horizon { reports: at(1_000), hours: None };
    unavailable_because(&store.prune(horizon).await, "version");
    unavailable_because(&store.check().await, "version");
    unavailable_because(&open(&server).latest(&fleet()).await, "version");
    assert_eq!(server.ask(&["DEBUG", "DIGEST"]), before);
}

/// If any of the keys has another type, nothing is written at all; after the key is deleted, the store works again.
#[tokio::test]
async fn data_of_other_programs_is_neither_read_nor_written() {
    let (server, store) = started();
    let (epoch, cycles) = (keys::padded(7), &keys::padded(1)[..17]);
    let hour = at(1).as_microsecond() / crate::store::interface::HOUR;
    let mut names = ["meta", "reports", "times", "kinds", "latest", "epochs", "fence", "hours"]
        .map(str::to_owned)
        .to_vec();
    names.extend([format!("keys:{epoch}::{cycles}"), format!("gone:{epoch}:"), format!("epoch:{epoch}")]);
    names.extend([format!("hour:{hour}"), format!("minutes:{hour}")]);
    for name in &names {
        server.ask(&["SET", &format!("atalaya:{name}"), "something else"]);
        unavailable_because(&store.record(one(1)).await, "data of another program");
        assert_eq!(server.ask(&["DBSIZE"]), "1", "{name}");
        server.ask(&["FLUSHALL"]);
    }
    assert_eq!(store.record(one(1)).await.unwrap(), [Outcome::Recorded(1)]);
    let before = server.ask(&["DEBUG", "DIGEST"]);
    let horizon = Horizon { reports: at(1_000), hours: None };
    for name in ["old".to_owned(), format!("old:{hour}"), format!("gone:{epoch}:")] {
        server.ask(&["SET", &format!("atalaya:{name}"), "something else"]);
        unavailable_because(&store.prune(horizon).await, "data of another program");
        server.ask(&["DEL", &format!("atalaya:{name}")]);
        assert_eq!(server.ask(&["DEBUG", "DIGEST"]), before, "{name}");
    }
    server.ask(&["XADD", "atalaya:reports", "*", "what", "is this"]);
    unavailable_because(&store.record(one(2)).await, "data of another program");
    unavailable_because(&store.since(&fleet(), 0, 10).await, "data of another program");
    assert_eq!(server.ask(&["ZCARD", "atalaya:times"]), "1");
}

#[tokio::test]
async fn flushed_scripts_are_loaded_again() {
    let (server, store) = started();
    store.record(one(1)).await.unwrap();
    server.ask(&["SCRIPT", "FLUSH"]);
    assert_eq!(store.record(one(2)).await.unwrap(), [Outcome::Recorded(2)]);
}

/// The outcome was unknown, the command was executed late, and it is not executed again.
#[tokio::test]
async fn lost_answer_does_not_record_a_report_twice() {
    let mut server = Redis::with(KEEPING);
    let store = RedisStore::open(RedisOptions::new(&server.url()).unwrap()).unwrap();
    store.record(one(1)).await.unwrap();
    server.stop_process();
    // The command waits in the server's socket.
    unavailable_because(&store.record(one(2)).await, "does not answer");
    server.continue_process();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        match store.record(one(2)).await {
            Ok(outcomes) => {
                break assert!(matches!(outcomes[..], [Outcome::Repeated | Outcome::Recorded(2)]));
            }
            Err(_) => assert!(std::time::Instant::now() < deadline),
        }
    }
    assert_eq!(means(&store).await.len(), 2);
}

#[tokio::test]
async fn query_that_takes_too_long_is_aborted() {
    let server = Redis::with(KEEPING);
    let options = RedisOptions { read_timeout: Duration::ZERO, ..RedisOptions::new(&server.url()).unwrap() };
    let store = RedisStore::open(options).unwrap();
    store.record(one(1)).await.unwrap();
    assert_eq!(store.series(Filter::default(), 1_000_000, 10).await, Err(StoreError::TooLong));
    assert_eq!(means(&open(&server)).await, [1.0]);
}

/// A cancelled call leaves no answer behind that the next call could take for its own.
#[tokio::test]
async fn cancelled_call_leaves_no_answer_for_the_next_one() {
    let (mut server, store) = started();
    store.record(one(1)).await.unwrap();
    assert_eq!(store.newest().await.unwrap(), 1);
    server.stop_process();
    let dropped = tokio::time::timeout(Duration::from_millis(20), means(&store)).await;
    assert!(dropped.is_err());
    let dropped = tokio::time::timeout(Duration::from_millis(20), store.record(one(2))).await;
    assert!(dropped.is_err());
    server.continue_process();
    assert!([1, 2].contains(&store.newest().await.unwrap()), "done or not");
    let third = store.record(one(3)).await.unwrap();
    assert!(matches!(third[..], [Outcome::Recorded(2 | 3)]), "{third:?}");
    assert_eq!(store.epochs(&fleet(), 1).await.unwrap()[0].last_cycle, 3);
}

/// Keys that are kept indefinitely cost memory, but one line per leader is acceptable.
#[tokio::test]
async fn keys_of_pruned_reports_are_intervals() {
    let (server, store) = started();
    for cycles in [1..400, 600..1_300, 400..600] {
        store.record(cycles.rev().map(|cycle| keyed(7, cycle, None, 1.0)).collect()).await.unwrap();
    }
    let spans = || server.ask(&["ZRANGE", &format!("atalaya:gone:{}:", keys::padded(7)), "0", "-1"]);
    let span = |first, last| format!("{}:{}", keys::padded(first), keys::padded(last));
    assert_eq!(store.prune(Horizon { reports: at(901), hours: None }).await.unwrap(), 900);
    assert_eq!(spans(), span(1, 900));
    // A late report that leaves a gap.
    let late = Report { time: at(0), ..keyed(7, 1_302, None, 1.0) };
    store.record(vec![late]).await.unwrap();
    store.prune(Horizon { reports: at(1_200), hours: None }).await.unwrap();
    assert_eq!(spans(), [span(1, 1_199), span(1_302, 1_302)].join("\n"));
    let left = server.ask(&["KEYS", "atalaya:keys:*"]);
    assert_eq!(left.lines().count(), 1, "{left}");
    assert_eq!(server.ask(&["KEYS", "atalaya:hour:*"]).lines().count(), 1);
}

/// On a shared server the store needs only the rights that docs/collector.md lists.
#[tokio::test]
async fn documented_rights_are_sufficient() {
    let rights = "+@read +@write +@scripting +info +ping +config|get +config|set +config|rewrite";
    let server = Redis::with(&format!("{KEEPING}\nuser atalaya on >secret ~atalaya:* {rights}"));
    let store = open_at(&format!("redis://atalaya:secret@127.0.0.1:{}", server.port()));
    store.check().await.unwrap();
    store.record((1..6).map(|cycle| keyed(7, cycle, Some("Cel"), 1.0)).collect()).await.unwrap();
    assert_eq!(store.prune(Horizon { reports: at(3), hours: None }).await.unwrap(), 2);
    assert_eq!(means(&store).await.len(), 3);
    let filter = || Filter::default();
    assert_eq!(store.series(filter(), crate::store::interface::HOUR, 10).await.unwrap()[0].reports, 5);
    assert_eq!(store.since(&fleet(), 3, 10).await.unwrap().len(), 2);
    assert_eq!(
        (store.latest(&fleet()).await.unwrap().len(), store.epochs(&fleet(), 10).await.unwrap().len()),
        (1, 1)
    );
    let elsewhere = open_at(&format!("redis://atalaya:secret@127.0.0.1:{}?prefix=other", server.port()));
    unavailable_because(&elsewhere.record(one(1)).await, "rights");
}

/// After its restart Redis ignores the append-only file, and would write a new one in its place.
#[tokio::test]
async fn server_started_without_its_append_only_file_is_not_reconfigured() {
    let mut server = Redis::start();
    // Set at run time, and not in the configuration.
    server.ask(&["CONFIG", "SET", "appendonly", "yes"]);
    let store = open(&server);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while store.record(one(1)).await.is_err() {
        assert!(std::time::Instant::now() < deadline);
    }
    server.kill();
    server.restart();
    for _ in 0..2 {
        unavailable_because(&store.record(one(2)).await, "append-only file");
    }
    server.kill();
    server.configure("appendonly yes");
    server.restart();
    assert_eq!(store.record(one(1)).await.unwrap(), [Outcome::Repeated]);
}

/// Sums of earlier versions have no moments. Their reports are read one by one, also after others were added.
#[tokio::test]
async fn sums_of_an_earlier_version_get_the_moments_of_their_reports() {
    let (server, store) = started();
    let report = |cycle| Report { count: Some(3), stddev: Some(0.5), ..keyed(7, cycle, Some("Cel"), 20.0) };
    store.record((0..200).map(report).collect()).await.unwrap();
    let filter = || Filter { from: Some(at(0)), to: Some(at(3_600)), ..Filter::default() };
    let sums = async || store.sums(filter(), 3_600_000_000, 10, true).await.unwrap();
    let before = sums().await;
    assert_eq!(before[0].moments.unwrap().readings, 600);
    let hour = at(0).as_microsecond() / 3_600_000_000;
    for key in [format!("atalaya:hour:{hour}"), format!("atalaya:minutes:{hour}")] {
        for field in server.ask(&["HKEYS", &key]).lines() {
            let sum = server.ask(&["HGET", &key, field]);
            let words: Vec<&str> = sum.split_whitespace().collect();
            assert_eq!(words.len(), 7, "{sum}");
            server.ask(&["HSET", &key, field, &words[..4].join(" ")]);
        }
    }
    assert_eq!(sums().await[0].moments.map(|own| (own.readings, own.mean)), Some((600, 20.0)));
    store.record(vec![report(200)]).await.unwrap();
    let after = sums().await;
    assert_eq!((after[0].reports, after[0].moments.unwrap().readings), (201, 603));
    assert_eq!(store.series(filter(), 3_600_000_000, 10).await.unwrap()[0].reports, 201);
}
