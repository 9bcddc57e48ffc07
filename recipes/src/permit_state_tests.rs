//! Concurrent waiters of a semaphore against a model of ZooKeeper that loses requests, replies, connections and
//! sessions.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::node_names::{ContenderId, Naming, Role};

#[derive(Default)]
struct Model {
    limit: usize,
    queue: Vec<(String, i64)>,
    /// Owning session of each client's permit.
    permits: BTreeMap<usize, i64>,
    counter: u32,
    sessions: i64,
}

struct Client {
    number: usize,
    state: PermitState,
    id: ContenderId,
    session: i64,
    connected: bool,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    RequestLost,
    ReplyLost,
    Timeout,
    Disconnect,
    Reconnect,
    Expire,
    NewSession,
    QueueZnodeDeleted,
    PermitDeleted,
    Withdraw,
    WithdrawDuringRequest,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        16 => Just(Fault::None),
        2 => Just(Fault::RequestLost),
        2 => Just(Fault::ReplyLost),
        1 => Just(Fault::Timeout),
        1 => Just(Fault::Disconnect),
        6 => Just(Fault::Reconnect),
        1 => Just(Fault::Expire),
        1 => Just(Fault::NewSession),
        1 => Just(Fault::QueueZnodeDeleted),
        1 => Just(Fault::PermitDeleted),
        1 => Just(Fault::Withdraw),
        1 => Just(Fault::WithdrawDuringRequest),
    ]
}

impl Client {
    fn new(number: usize) -> Client {
        let id = ContenderId::from_number(number as u128);
        let state =
            PermitState::new(Contender::new(String::new(), Vec::new(), Naming::Kazoo.into(), id.clone()));
        Client { number, state, id, session: 0, connected: false }
    }

    fn connect(&mut self, model: &mut Model) {
        if self.session == 0 {
            model.sessions += 1;
            self.session = model.sessions;
        }
        self.connected = true;
        self.state.on(Event::Queue(queue::Event::Connected(self.session)));
    }

    fn disconnect(&mut self) {
        self.connected = false;
        self.state.on(Event::Queue(queue::Event::Disconnected));
    }

    fn holds(&self) -> bool {
        self.state.step() == Step::Hold
    }

    fn has_left(&self) -> bool {
        self.state.step() == Step::Left
    }

    /// Carries out the next step. `answered`: the reply arrives.
    fn work(&mut self, model: &mut Model, answered: bool) {
        let exists = |model: &Model, name: &str| model.queue.iter().any(|(other, _)| other == name);
        let event = match self.state.step() {
            Step::AwaitConnection => return self.connect(model),
            Step::Left => return,
            Step::Hold => return,
            Step::FindPermit => Event::PermitFound(model.permits.get(&self.number).copied()),
            Step::DeletePermit => {
                model.permits.remove(&self.number);
                Event::PermitDeleted
            }
            Step::CountPermits { .. } => match model.permits.get(&self.number) {
                Some(owner) => Event::PermitFound(Some(*owner)),
                None if model.permits.len() < model.limit => Event::PermitAvailable,
                None => Event::NoPermitAvailable,
            },
            Step::CreatePermit { contender }
                if exists(model, &contender) && !model.permits.contains_key(&self.number) =>
            {
                model.permits.insert(self.number, self.session);
                Event::PermitCreated
            }
            Step::CreatePermit { .. } => Event::Queue(queue::Event::OutcomeUnknown),
            Step::Queue(step) => match self.queue_step(model, step) {
                Some(event) => Event::Queue(event),
                None => return,
            },
        };
        if answered {
            self.state.on(event);
            // Like `AcquireTask`, which reads and watches the permit before it counts as held.
            if self.holds() && model.permits.get(&self.number) != Some(&self.session) {
                self.state.on(Event::Queue(queue::Event::OutcomeUnknown));
            }
        }
    }

    fn queue_step(&self, model: &mut Model, step: queue::Step) -> Option<queue::Event> {
        let exists = |name: &str| model.queue.iter().any(|(other, _)| other == name);
        Some(match step {
            queue::Step::List => queue::Event::Listed {
                children: model.queue.iter().map(|(name, _)| name.clone()).collect(),
                own: model.queue.iter().filter(|(name, _)| self.id.owns(name)).cloned().collect(),
            },
            queue::Step::Delete(names) => {
                model.queue.retain(|(other, _)| !names.contains(other));
                queue::Event::Deleted
            }
            queue::Step::Create => {
                let name = format!("{}{:010}", Role::from(Naming::Kazoo).prefix(&self.id), model.counter);
                model.counter += 1;
                model.queue.push((name.clone(), self.session));
                queue::Event::Created(name)
            }
            queue::Step::Wait { own, predecessor, .. } if exists(&own) && exists(&predecessor) => {
                return None;
            }
            queue::Step::Wait { .. } => queue::Event::WatchFired,
            step => panic!("unexpected step: {step:?}"),
        })
    }

    fn apply(&mut self, fault: Fault, model: &mut Model) {
        match fault {
            Fault::None => self.work(model, true),
            Fault::RequestLost | Fault::Disconnect => self.disconnect(),
            Fault::ReplyLost if self.connected => {
                self.work(model, false);
                self.disconnect();
            }
            Fault::Timeout if self.connected && !self.holds() => {
                self.work(model, false);
                self.state.on(Event::Queue(queue::Event::OutcomeUnknown));
            }
            Fault::ReplyLost | Fault::Timeout => {}
            Fault::Reconnect if !self.connected => self.connect(model),
            Fault::Reconnect => {}
            Fault::Expire => {
                self.disconnect();
                model.queue.retain(|(_, owner)| *owner != self.session);
                model.permits.retain(|_, owner| *owner != self.session);
                self.session = 0;
            }
            Fault::NewSession => {
                self.disconnect();
                self.session = 0;
            }
            Fault::QueueZnodeDeleted => model.queue.retain(|(name, _)| !self.id.owns(name)),
            // The watch on its permit fires before any other client can see the deletion.
            Fault::PermitDeleted => {
                model.permits.remove(&self.number);
                if self.holds() {
                    self.state.on(Event::Queue(queue::Event::OutcomeUnknown));
                }
            }
            Fault::Withdraw => self.state.on(Event::Queue(queue::Event::Withdraw)),
            Fault::WithdrawDuringRequest if self.connected => {
                self.work(model, false);
                self.state.on(Event::Queue(queue::Event::Withdraw));
            }
            Fault::WithdrawDuringRequest => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn permits_in_use_never_exceed_the_limit_and_no_permit_stays_free(
        limit in 1usize..4,
        count in 1usize..6,
        events in prop::collection::vec((0usize..6, fault()), 0..250),
    ) {
        let mut model = Model { limit, ..Model::default() };
        let mut clients: Vec<Client> = (0..count).map(Client::new).collect();
        for (client, fault) in events {
            clients[client % count].apply(fault, &mut model);
            prop_assert!(model.permits.len() <= limit, "{:?}", model.permits);
            prop_assert!(clients.iter().filter(|client| client.holds()).count() <= limit);
        }
        // Without faults. In each round one client releases its permit and another one acquires it.
        for _ in 0..=count {
            for _ in 0..60 {
                for client in &mut clients { client.apply(Fault::None, &mut model); }
            }
            let waiting_or_holding = clients.iter().filter(|client| !client.has_left()).count();
            let holding = clients.iter().filter(|client| client.holds()).count();
            prop_assert_eq!(holding, waiting_or_holding.min(limit), "of {} clients", waiting_or_holding);
            prop_assert_eq!(model.permits.len(), holding, "orphaned permits");
            let waiting = waiting_or_holding - holding;
            prop_assert_eq!(model.queue.len(), waiting, "orphaned znodes in the queue: {:?}", model.queue);
            if let Some(client) = clients.iter_mut().find(|client| client.holds()) {
                client.apply(Fault::Withdraw, &mut model);
            }
        }
        prop_assert!(model.permits.is_empty() && model.queue.is_empty());
    }
}
