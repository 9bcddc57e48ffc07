//! Cleanup after a dead process deletes the znodes of its sessions, and no others, whatever happens at the same time.

use std::time::{Duration, Instant};

use atalaya::process::stale_sessions::{clean_up, clean_up_all};
use atalaya::process::state_dir::ProcessRecord;
use atalaya_recipes::{Connection, Session, SessionOptions};
use atalaya_zookeeper::{Disconnect, Operation, RequestFilter, Server};

const MEASUREMENT: &str = "/mediciones/1";
const CONTENDER: &str = "0123456789abcdef0123456789abcdef__lock__";
const DEADLINE: Duration = Duration::from_secs(30);

async fn session(server: &Server) -> (Session, Connection) {
    let servers = server.connect_string().parse().unwrap();
    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(20)));
    let connection = tokio::time::timeout(DEADLINE, session.connection()).await.unwrap();
    (session, connection)
}

/// Creates the znodes of a node that publishes and contends.
async fn live(connection: &Connection) -> ProcessRecord {
    connection.ensure("/mediciones").await.unwrap();
    connection.ensure("/election").await.unwrap();
    connection.create_ephemeral(MEASUREMENT, b"7").await.unwrap();
    connection.create_sequential(&format!("/election/{CONTENDER}"), b"1").await.unwrap();
    ProcessRecord {
        process: 1,
        sessions: vec![connection.session_id()],
        znodes: vec![MEASUREMENT.to_owned(), "/atalaya/nodes/1".to_owned()],
        election: "/election".to_owned(),
        contender: CONTENDER.to_owned(),
        mark: None,
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE * 4, test).await.unwrap() });
}

#[test]
fn cleanup_keeps_the_znodes_of_a_new_owner_of_the_id() {
    run(async {
        let server = Server::builder().start_thread().unwrap();
        let faults = server.faults();
        let (_reaper, reaper) = session(&server).await;
        let (_next, next) = session(&server).await;
        let mut removed = 0;
        for round in 0..300 {
            let (_dead, dead) = session(&server).await;
            let life = live(&dead).await;
            let expired = async {
                // Before, during and after the read.
                let moment = Instant::now() + Duration::from_micros(100) * (round % 40);
                while Instant::now() < moment {
                    tokio::task::yield_now().await;
                }
                faults.expire(dead.session_id()).await;
                // No other client: the version is the same as the dead process's.
                while next.create_ephemeral(MEASUREMENT, b"8").await.is_err() {}
            };
            let (cleared, ()) = tokio::join!(clean_up(&reaper, &life), expired);
            removed += usize::from(!cleared.unwrap().is_empty());
            let (data, stat) = next.get(MEASUREMENT).await.expect("it was deleted");
            assert_eq!((data.as_slice(), stat.ephemeral_owner), (&b"8"[..], next.session_id()));
            assert!(next.children("/election").await.unwrap().is_empty());
            next.delete(MEASUREMENT, None).await.unwrap();
        }
        println!("in {removed} of 300 rounds the session was cleared before it ended");
    });
}

#[test]
fn huge_znodes_of_others_do_not_stop_the_cleanup() {
    run(async {
        let server = Server::builder().start_thread().unwrap();
        let (_reaper, reaper) = session(&server).await;
        let (_other, other) = session(&server).await;
        let (_dead, dead) = session(&server).await;
        let life = live(&dead).await;
        other.ensure("/atalaya/standby").await.unwrap();
        // Together more than a response may have.
        for _ in 0..40 {
            other.create_sequential("/atalaya/standby/", &vec![b'x'; 1_000_000]).await.unwrap();
        }
        let own = dead.create_sequential("/atalaya/standby/", CONTENDER.as_bytes()).await.unwrap();
        let removed = clean_up(&reaper, &life).await.unwrap();
        assert!(removed.contains(&own) && removed.len() == 3, "{removed:?}");
        assert_eq!(reaper.children("/atalaya/standby").await.unwrap().len(), 40);
    });
}

#[test]
fn cleanup_deletes_the_last_write_of_the_dead_process() {
    run(async {
        let server = Server::builder().start_thread().unwrap();
        let (_reaper, reaper) = session(&server).await;
        for round in 0..100 {
            let (_dead, dead) = session(&server).await;
            let life = live(&dead).await;
            let writing = async {
                for number in 0..round % 20 {
                    // Until the znode is gone.
                    if dead.set(MEASUREMENT, format!("{number}").as_bytes(), None).await.is_err() {
                        break;
                    }
                }
            };
            let (cleared, ()) = tokio::join!(clean_up(&reaper, &life), writing);
            // A client that writes faster than the cleanup can read is alive, and the cleanup may give up.
            match cleared {
                Ok(removed) => assert_eq!(removed.len(), 2),
                Err(error) => {
                    assert!(error.is_bad_version(), "{error}");
                    assert_eq!(clean_up(&reaper, &life).await.unwrap().len(), 2);
                }
            }
            assert!(reaper.stat(MEASUREMENT).await.unwrap().is_none());
            assert!(reaper.children("/election").await.unwrap().is_empty());
        }
    });
}

#[test]
fn cleanup_continues_after_a_lost_connection() {
    run(async {
        for cut in [Disconnect::BeforeEffect, Disconnect::BeforeReply] {
            let server = Server::builder().start_thread().unwrap();
            let (_dead, dead) = session(&server).await;
            let life = live(&dead).await;
            let (reaper, first) = session(&server).await;
            let multi = RequestFilter::any().operation(Operation::Multi);
            let loss = server.faults().disconnect_at(cut, multi).await;
            let mut cleared = Vec::new();
            let lives = [life.clone()];
            clean_up_all(&reaper, &lives, |life, _| cleared.push(life.clone())).await.unwrap();
            loss.happened().await.unwrap();
            assert_eq!(cleared, [life]);
            let connection = reaper.connection().await;
            assert!(connection.number() > first.number());
            assert!(connection.stat(MEASUREMENT).await.unwrap().is_none());
            assert!(connection.children("/election").await.unwrap().is_empty());
        }
    });
}
