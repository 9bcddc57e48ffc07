//! Fleets of many nodes: the requests of a join grow with the number of nodes, and all return after ZooKeeper was away.
//! `node/benches/join.rs` measures larger ones.

use std::time::Duration;

use atalaya_recipes::Standing;

use crate::common::large_fleet::{Cost, LargeFleet};

/// Long enough for a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

async fn cost_of_a_join(nodes: usize, led_by_other: bool) -> Cost {
    let mut fleet = LargeFleet::start(nodes, led_by_other).await;
    fleet.wait_until_joined(DEADLINE).await;
    let cost = fleet.cost().await;
    fleet.stop();
    cost
}

#[tokio::test]
async fn requests_and_listed_names_of_a_join_grow_with_the_number_of_nodes() {
    // The leader lists the nodes, so it is another program here.
    let [small, medium, large] =
        [cost_of_a_join(40, true).await, cost_of_a_join(80, true).await, cost_of_a_join(160, true).await];
    println!("join of 40, 80 and 160 nodes: {small:?}, {medium:?}, {large:?}");
    assert!(medium.is_linear_to(80, small, 40) && large.is_linear_to(160, small, 40));
    // Most nodes list nothing that grows with the fleet.
    assert!(large.names <= 160 * 4, "{large:?}");
}

#[tokio::test]
async fn requests_of_a_join_grow_with_the_number_of_nodes_that_have_a_leader() {
    let [small, large] = [cost_of_a_join(40, false).await, cost_of_a_join(160, false).await];
    println!("join of 40 and 160 nodes with a leader: {small:?}, {large:?}");
    assert!(large.requests * 10 <= small.requests * 4 * 11);
}

#[tokio::test]
async fn two_hundred_nodes_return_with_few_requests_after_restarts_of_zookeeper() {
    const NODES: u64 = 200;
    let mut fleet = LargeFleet::start(NODES as usize, false).await;
    fleet.wait_until_joined(DEADLINE).await;
    let leader = |fleet: &LargeFleet| {
        fleet.nodes.iter().filter(|node| node.borrow().standing == Standing::Leading).count()
    };
    let faults = fleet.server.faults();
    for loses_sessions in [false, true] {
        let before = fleet.cost().await;
        faults.stop().await;
        for node in &mut fleet.nodes {
            let is_away = node.wait_for(|status| status.standing == Standing::Inactive);
            tokio::time::timeout(DEADLINE, is_away).await.unwrap().unwrap();
        }
        if loses_sessions {
            for session in faults.sessions().await {
                faults.expire(session).await;
            }
        }
        faults.restart().await;
        fleet.wait_until_joined(DEADLINE).await;
        assert!(leader(&fleet) <= 1);
        let after = fleet.cost().await;
        let (requests, names) = (after.requests - before.requests, after.names - before.names);
        println!("sessions lost: {loses_sessions}: {requests} requests, {names} names of {NODES} nodes");
        assert!(requests <= NODES * 40 && names <= NODES * 40, "{requests} requests, {names} names");
    }
    fleet.stop();
}
