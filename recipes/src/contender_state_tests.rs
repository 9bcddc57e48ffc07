//! Concurrent contenders against a model of ZooKeeper that loses requests, replies, connections and sessions.

use proptest::prelude::*;

use super::*;
use crate::node_names::Naming;

/// Ephemeral sequential znodes below one parent, with the sessions that own them.
#[derive(Default)]
struct Model {
    queue: Vec<(String, i64)>,
    counter: u32,
    sessions: i64,
}

impl Model {
    fn create(&mut self, prefix: &str, session: i64) -> String {
        let name = format!("{prefix}{:010}", self.counter);
        self.counter += 1;
        self.queue.push((name.clone(), session));
        name
    }

    fn delete(&mut self, name: &str) {
        self.queue.retain(|(other, _)| other != name);
    }

    fn expire(&mut self, session: i64) {
        self.queue.retain(|(_, owner)| *owner != session);
    }

    fn children(&self) -> Vec<String> {
        self.queue.iter().map(|(name, _)| name.clone()).collect()
    }
}

struct Contender {
    state: ContenderState,
    session: i64,
    connected: bool,
}

/// Event that affects one contender.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The step is carried out and the reply arrives.
    None,
    /// The request is lost, and so is the connection.
    RequestLost,
    /// The request takes effect; the reply and the connection are lost.
    ReplyLost,
    /// The request takes effect, but its reply is late; the connection is not lost.
    Timeout,
    /// The connection is lost between steps.
    Disconnect,
    Reconnect,
    /// The session expires: first the lease ends, as guaranteed, then the znodes are deleted.
    Expire,
    /// The client abandons its session and has a new one, but the old znodes still exist.
    NewSession,
    /// Another client deletes its znodes.
    ZnodesDeleted,
    /// The work of the holder, if it runs, is done.
    Done,
    Withdraw,
    /// It withdraws after its request was sent, and never gets the reply.
    WithdrawDuringRequest,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        12 => Just(Fault::None),
        2 => Just(Fault::RequestLost),
        2 => Just(Fault::ReplyLost),
        1 => Just(Fault::Timeout),
        1 => Just(Fault::Disconnect),
        6 => Just(Fault::Reconnect),
        1 => Just(Fault::Expire),
        1 => Just(Fault::NewSession),
        1 => Just(Fault::ZnodesDeleted),
        1 => Just(Fault::Done),
        1 => Just(Fault::Withdraw),
        1 => Just(Fault::WithdrawDuringRequest),
    ]
}

impl Contender {
    fn new(role: Role, number: usize) -> Contender {
        let state = ContenderState::new(role, ContenderId::from_number(number as u128));
        Contender { state, session: 0, connected: false }
    }

    fn connect(&mut self, model: &mut Model) {
        if self.session == 0 {
            model.sessions += 1;
            self.session = model.sessions;
        }
        self.connected = true;
        self.state.on(Event::Connected(self.session));
    }

    fn disconnect(&mut self) {
        self.connected = false;
        self.state.on(Event::Disconnected);
    }

    /// Carries out the next step. `answered`: the reply arrives.
    fn work(&mut self, model: &mut Model, answered: bool) {
        let event = match self.state.step() {
            Step::AwaitConnection => return self.connect(model),
            Step::Left => return,
            Step::List => {
                let children = model.children();
                let names = self.state.own_names(&children);
                let own =
                    model.queue.iter().filter(|(name, _)| names.contains(&name.as_str())).cloned().collect();
                Event::Listed { children, own }
            }
            // If the reply is lost, so may be the requests after the first one.
            Step::Delete(names) => {
                let sent = if answered { names.len() } else { 1 };
                names.iter().take(sent).for_each(|name| model.delete(name));
                Event::Deleted
            }
            Step::Create => Event::Created(model.create(&self.state.prefix(), self.session)),
            // The watches fire when a watched znode is deleted, and only then.
            Step::Wait { own, predecessor, .. } => {
                let exists = |name: &str| model.queue.iter().any(|(other, _)| other == name);
                if exists(&own) && exists(&predecessor) {
                    return;
                }
                Event::WatchFired
            }
            Step::Hold { own } => {
                if model.queue.iter().any(|(name, _)| *name == own) {
                    return;
                }
                Event::Deposed
            }
        };
        if answered {
            self.state.on(event);
        }
    }

    fn has_left(&self) -> bool {
        self.state.step() == Step::Left
    }

    fn holds(&self) -> bool {
        matches!(self.state.step(), Step::Hold { .. })
    }

    fn apply(&mut self, fault: Fault, model: &mut Model) {
        match fault {
            Fault::None => self.work(model, true),
            Fault::RequestLost => self.disconnect(),
            Fault::ReplyLost if self.connected => {
                self.work(model, false);
                self.disconnect();
            }
            Fault::Timeout if self.connected && !self.holds() => {
                self.work(model, false);
                self.state.on(Event::OutcomeUnknown);
            }
            Fault::ReplyLost | Fault::Timeout => {}
            Fault::Disconnect => self.disconnect(),
            Fault::Reconnect if !self.connected => self.connect(model),
            Fault::Reconnect => {}
            Fault::Expire => {
                self.disconnect();
                model.expire(self.session);
                self.session = 0;
            }
            Fault::NewSession => {
                self.disconnect();
                self.session = 0;
            }
            Fault::Done if self.holds() => self.state.on(Event::Done),
            Fault::Done => {}
            Fault::Withdraw => self.state.on(Event::Withdraw),
            Fault::WithdrawDuringRequest if self.connected => {
                self.work(model, false);
                self.state.on(Event::Withdraw);
            }
            Fault::WithdrawDuringRequest => {}
            Fault::ZnodesDeleted => {
                // The watch on its own znode fires before any other contender can see the deletion.
                let names = model.children();
                for name in self.state.own_names(&names) {
                    model.delete(name);
                }
                self.state.on(Event::Deposed);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn contenders_never_hold_together_and_one_holds_in_the_end(
        naming in naming(),
        count in 1usize..6,
        events in prop::collection::vec((0usize..6, fault()), 0..200),
    ) {
        let mut model = Model::default();
        let mut clients: Vec<Contender> = (0..count).map(|number| Contender::new(naming.into(), number)).collect();
        for (client, fault) in events {
            clients[client % count].apply(fault, &mut model);
            let holders = clients.iter().filter(|contender| contender.holds()).count();
            prop_assert!(holders <= 1, "{holders} hold");
        }
        settle(&mut clients, &mut model);
        let remaining = clients.iter().filter(|contender| !contender.has_left()).count();
        prop_assert_eq!(clients.iter().filter(|contender| contender.holds()).count(), remaining.min(1));
        each_contender_is_queued_once(&clients, &model)?;
    }

    /// In the end each waiting contender waits for a holder.
    #[test]
    fn readers_hold_together_and_writers_alone(
        reads in prop::collection::vec(any::<bool>(), 1..6),
        events in prop::collection::vec((0usize..6, fault()), 0..200),
    ) {
        let mut model = Model::default();
        let role = |reads: &bool| if *reads { Role::Reader } else { Role::Writer };
        let mut clients: Vec<Contender> =
            reads.iter().enumerate().map(|(number, reads)| Contender::new(role(reads), number)).collect();
        for (client, fault) in events {
            clients[client % reads.len()].apply(fault, &mut model);
            let holders: Vec<Role> = clients.iter().filter(|contender| contender.holds()).map(|contender| contender.state.role).collect();
            prop_assert!(holders.len() <= 1 || !holders.contains(&Role::Writer), "{holders:?}");
        }
        settle(&mut clients, &mut model);
        // Each contender holds in turn.
        for _ in 0..=clients.len() {
            let remaining = clients.iter().filter(|contender| !contender.has_left()).count();
            let holders = clients.iter().filter(|contender| contender.holds()).count();
            prop_assert_eq!(holders == 0, remaining == 0, "{} queued, none holds", remaining);
            each_contender_is_queued_once(&clients, &model)?;
            if let Some(holder) = clients.iter_mut().find(|contender| contender.holds()) {
                holder.apply(Fault::Done, &mut model);
            }
            settle(&mut clients, &mut model);
        }
        prop_assert!(model.queue.is_empty());
    }
}

fn naming() -> impl Strategy<Value = Naming> {
    prop_oneof![Just(Naming::Kazoo), Just(Naming::CuratorLatch), Just(Naming::CuratorLock)]
}

/// Runs without faults until no contender can make progress.
fn settle(clients: &mut [Contender], model: &mut Model) {
    for _ in 0..40 {
        for contender in &mut *clients {
            contender.apply(Fault::None, model);
        }
    }
}

/// Checks that each contender that has not left has exactly one znode, and that no other znode exists.
fn each_contender_is_queued_once(clients: &[Contender], model: &Model) -> Result<(), TestCaseError> {
    let remaining = clients.iter().filter(|contender| !contender.has_left()).count();
    prop_assert_eq!(model.queue.len(), remaining, "orphaned znodes: {:?}", model.queue);
    for contender in clients {
        let own = model.queue.iter().filter(|(name, _)| contender.state.id.owns(name)).count();
        prop_assert_eq!(own, usize::from(!contender.has_left()));
    }
    Ok(())
}

#[test]
fn contender_that_withdraws_before_its_first_connection_sends_no_request() {
    let mut state = ContenderState::new(Naming::Kazoo, ContenderId::from_number(7));
    state.on(Event::Withdraw);
    assert_eq!(state.step(), Step::Left);
}

#[test]
fn contender_that_withdraws_during_its_create_lists_the_queue_to_find_its_znode() {
    let mut state = ContenderState::new(Naming::Kazoo, ContenderId::from_number(7));
    state.on(Event::Connected(1));
    assert_eq!(state.step(), Step::Create);
    state.on(Event::Withdraw);
    assert_eq!(state.step(), Step::List);
    let name = format!("{}0000000003", state.prefix());
    state.on(Event::Listed { children: vec![name.clone()], own: vec![(name.clone(), 1)] });
    assert_eq!(state.step(), Step::Delete(vec![name.clone()]));
    state.on(Event::Deleted);
    assert_eq!(state.step(), Step::Left);
}

#[test]
fn znode_whose_create_reply_was_lost_is_found_again() {
    let mut state = ContenderState::new(Naming::Kazoo, ContenderId::from_number(7));
    state.on(Event::Connected(1));
    assert_eq!(state.step(), Step::Create);
    state.on(Event::Disconnected);
    state.on(Event::Connected(1));
    assert_eq!(state.step(), Step::List);
    let name = format!("{}0000000003", state.prefix());
    state.on(Event::Listed { children: vec![name.clone()], own: vec![(name.clone(), 1)] });
    assert_eq!(state.step(), Step::Hold { own: name });
}

#[test]
fn contender_that_is_done_leaves_the_queue_over_the_next_connection() {
    let mut state = ContenderState::new(Naming::Kazoo, ContenderId::from_number(7));
    state.on(Event::Connected(1));
    let name = format!("{}0000000003", state.prefix());
    let listed = Event::Listed { children: vec![name.clone()], own: vec![(name.clone(), 1)] };
    state.on(Event::Created(name.clone()));
    state.on(listed.clone());
    state.on(Event::Done);
    assert_eq!(state.step(), Step::Delete(vec![name.clone()]));
    state.on(Event::Disconnected);
    state.on(Event::Connected(1));
    assert_eq!(state.step(), Step::List);
    state.on(listed);
    assert_eq!(state.step(), Step::Delete(vec![name.clone()]), "it must not hold again");
    state.on(Event::Deleted);
    state.on(Event::Disconnected);
    assert_eq!(state.step(), Step::Left);
}

#[test]
fn late_reply_while_disconnected_changes_nothing() {
    let mut state = ContenderState::new(Naming::Kazoo, ContenderId::from_number(7));
    state.on(Event::Connected(1));
    state.on(Event::Disconnected);
    state.on(Event::Created("x__lock__0000000000".into()));
    state.on(Event::Listed { children: vec![], own: vec![] });
    assert_eq!(state.step(), Step::AwaitConnection);
}
