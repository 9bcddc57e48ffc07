//! The reply to a committed transaction is lost: each time one result.

use atalaya::model::task::spec::Target;
use atalaya_testbed::{Proxy, eventually};
use atalaya_zookeeper::{Disconnect, Operation, RequestFilter};

use super::stage::{SESSION, Servers, Stage, spec};
use crate::common::server::Server;
use crate::common::{DEADLINE, Fleet};

/// Code of `multi` in ZooKeeper's protocol.
const MULTI: i32 = 14;

#[test]
fn lost_transactions_and_lost_replies_leave_one_result_in_memory() {
    let fleet = Fleet::memory();
    let servers = Servers { hosts: fleet.hosts.clone(), journal: None };
    let stage = Stage::new(&servers, SESSION * 7);
    let (_leader, _worker) = (stage.leader("n1", None), stage.worker("w1", None));
    let mut tasks = Vec::new();
    for cut in [Disconnect::BeforeReply, Disconnect::BeforeEffect] {
        // Assignment, claim, report, final commit.
        for path in ["/tasks/run/w1/", "/tasks/claim/", "/tasks/done/", "/tasks/spec/"] {
            let path = format!("{}/atalaya{path}", stage.chroot());
            let loss = fleet
                .server
                .hand()
                .cut(cut, RequestFilter::any().operation(Operation::Multi).path_contains(path.clone()));
            let task = stage.submit_spec(&spec(&format!("s{}", tasks.len()), "short", Target::Any));
            loss.has_happened();
            tasks.push((task, false));
            stage.all_end(&tasks, || ());
            stage.check(&tasks);
            let begun = stage.witness().iter().filter(|line| line.starts_with("begin")).count();
            assert_eq!(begun, tasks.len(), "executed once each: {path}");
        }
    }
}

#[test]
fn lost_transactions_and_lost_replies_leave_one_result_on_apache() {
    let fleet = Fleet::apache();
    let Server::Apache(server) = &fleet.server else { panic!("only Apache ZooKeeper is behind a proxy") };
    let servers = Servers { hosts: fleet.hosts.clone(), journal: Some(server) };
    let stage = Stage::new(&servers, SESSION * 7);
    let (to_leader, to_worker) = (Proxy::to(server.port()), Proxy::to(server.port()));
    let _leader = stage.leader_at("n1", Some(&to_leader.connect_string()), None);
    let _worker = stage.worker_at("w1", Some(&to_worker.connect_string()), None);
    let mut tasks = Vec::new();
    for is_committed in [true, false] {
        let arm = |proxy: &Proxy| match is_committed {
            true => proxy.cut_after_request(MULTI),
            false => proxy.cut_before_request(MULTI),
        };
        // The first transaction of the leader assigns, that of the worker claims; the next ones report and record.
        for (proxy, is_first) in
            [(&to_leader, true), (&to_worker, true), (&to_worker, false), (&to_leader, false)]
        {
            let go = stage.file("witness.go");
            let _ = std::fs::remove_file(&go);
            if is_first {
                arm(proxy);
            }
            let task = stage.submit_spec(&spec(&format!("s{}", tasks.len()), "waits", Target::Any));
            tasks.push((task, false));
            let begun = || stage.witness().iter().filter(|line| line.starts_with("begin")).count();
            eventually("the execution", DEADLINE, || (begun() >= tasks.len()).then_some(()));
            if !is_first {
                arm(proxy);
            }
            std::fs::write(&go, "").unwrap();
            stage.all_end(&tasks, || ());
            assert!(!proxy.is_armed(), "no transaction was lost");
            stage.check(&tasks);
            assert_eq!(begun(), tasks.len(), "executed once each");
        }
    }
    stage.check_history(&tasks);
}
