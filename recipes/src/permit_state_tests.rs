//! A crowd in front of a semaphore, against a model of ZooKeeper that loses requests, replies, connections, sessions.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::node_names::{ContenderId, Naming};

#[derive(Default)]
struct Model {
    max: usize,
    line: Vec<(String, i64)>,
    /// Whose place, in which session.
    places: BTreeMap<usize, i64>,
    counter: u32,
    sessions: i64,
}

struct One {
    number: usize,
    seating: PermitState<ContenderState>,
    token: ContenderId,
    session: i64,
    connected: bool,
}

#[derive(Clone, Copy, Debug)]
enum Luck {
    Works,
    LostBefore,
    LostAfter,
    TimedOut,
    Drops,
    Returns,
    Expires,
    GivesUp,
    RobbedInLine,
    RobbedOfItsPlace,
    Withdraws,
    WithdrawsMeanwhile,
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        16 => Just(Luck::Works),
        2 => Just(Luck::LostBefore),
        2 => Just(Luck::LostAfter),
        1 => Just(Luck::TimedOut),
        1 => Just(Luck::Drops),
        6 => Just(Luck::Returns),
        1 => Just(Luck::Expires),
        1 => Just(Luck::GivesUp),
        1 => Just(Luck::RobbedInLine),
        1 => Just(Luck::RobbedOfItsPlace),
        1 => Just(Luck::Withdraws),
        1 => Just(Luck::WithdrawsMeanwhile),
    ]
}

impl One {
    fn new(number: usize) -> One {
        let token = ContenderId::from_number(number as u128);
        let seating = PermitState::new(ContenderState::new(Naming::Kazoo, token.clone()));
        One { number, seating, token, session: 0, connected: false }
    }

    fn connect(&mut self, model: &mut Model) {
        if self.session == 0 {
            model.sessions += 1;
            self.session = model.sessions;
        }
        self.connected = true;
        self.seating.on(Event::LinkUp(self.session));
    }

    fn disconnect(&mut self) {
        self.connected = false;
        self.seating.on(Event::LinkDown);
    }

    fn holds(&self) -> bool {
        self.seating.step() == Step::OwnedNode
    }

    fn rests(&self) -> bool {
        self.seating.step() == Step::Rest
    }

    /// Carries out the present step. `answered`: whether it is told.
    fn work(&mut self, model: &mut Model, answered: bool) {
        let stands = |model: &Model, name: &str| model.line.iter().any(|(other, _)| other == name);
        let event = match self.seating.step() {
            Step::AwaitLink => return self.connect(model),
            Step::Rest => return,
            Step::OwnedNode if model.places.get(&self.number) == Some(&self.session) => return,
            Step::OwnedNode => Event::Unclear,
            Step::Find => Event::Found(model.places.get(&self.number).copied()),
            Step::Vacate => {
                model.places.remove(&self.number);
                Event::Vacated
            }
            Step::Count { .. } => match model.places.get(&self.number) {
                Some(owner) => Event::Found(Some(*owner)),
                None if model.places.len() < model.max => Event::Free,
                None => Event::Full,
            },
            Step::Sit { entry } if stands(model, &entry) && !model.places.contains_key(&self.number) => {
                model.places.insert(self.number, self.session);
                Event::Sat
            }
            Step::Sit { .. } => Event::Unclear,
            Step::Enter(step) => match self.enter(model, step) {
                Some(event) => Event::Entered(event),
                None => return,
            },
        };
        if answered {
            self.seating.on(event);
        }
    }

    fn enter(&self, model: &mut Model, step: contender_state::Step) -> Option<contender_state::Event> {
        let stands = |name: &str| model.line.iter().any(|(other, _)| other == name);
        Some(match step {
            contender_state::Step::Look => contender_state::Event::Seen {
                children: model.line.iter().map(|(name, _)| name.clone()).collect(),
                ours: model.line.iter().filter(|(name, _)| self.token.owns(name)).cloned().collect(),
            },
            contender_state::Step::Delete(name) => {
                model.line.retain(|(other, _)| *other != name);
                contender_state::Event::Deleted(name)
            }
            contender_state::Step::Create => {
                let name = format!("{}{:010}", self.seating.entry.prefix(), model.counter);
                model.counter += 1;
                model.line.push((name.clone(), self.session));
                contender_state::Event::Created(name)
            }
            contender_state::Step::Wait { own, predecessor, .. } if stands(&own) && stands(&predecessor) => {
                return None;
            }
            contender_state::Step::Wait { .. } => contender_state::Event::Stirred,
            step => panic!("{step:?} is not to be done"),
        })
    }

    fn befall(&mut self, luck: Luck, model: &mut Model) {
        match luck {
            Luck::Works => self.work(model, true),
            Luck::LostBefore | Luck::Drops => self.disconnect(),
            Luck::LostAfter if self.connected => {
                self.work(model, false);
                self.disconnect();
            }
            Luck::TimedOut if self.connected && !self.holds() => {
                self.work(model, false);
                self.seating.on(Event::Unclear);
            }
            Luck::LostAfter | Luck::TimedOut => {}
            Luck::Returns if !self.connected => self.connect(model),
            Luck::Returns => {}
            Luck::Expires => {
                self.disconnect();
                model.line.retain(|(_, owner)| *owner != self.session);
                model.places.retain(|_, owner| *owner != self.session);
                self.session = 0;
            }
            Luck::GivesUp => {
                self.disconnect();
                self.session = 0;
            }
            Luck::RobbedInLine => model.line.retain(|(name, _)| !self.token.owns(name)),
            // The watch on its own znode tells it before anyone else can see it gone.
            Luck::RobbedOfItsPlace => {
                model.places.remove(&self.number);
                if self.holds() {
                    self.seating.on(Event::Unclear);
                }
            }
            Luck::Withdraws => self.seating.on(Event::Withdraw),
            Luck::WithdrawsMeanwhile if self.connected => {
                self.work(model, false);
                self.seating.on(Event::Withdraw);
            }
            Luck::WithdrawsMeanwhile => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn never_more_than_there_are_places_and_none_stays_empty(max in 1usize..4, count in 1usize..6, turns in prop::collection::vec((0usize..6, luck()), 0..250)) {
        let mut model = Model { max, ..Model::default() };
        let mut crowd: Vec<One> = (0..count).map(One::new).collect();
        for (who, luck) in turns {
            crowd[who % count].befall(luck, &mut model);
            prop_assert!(model.places.len() <= max, "{:?}", model.places);
            prop_assert!(crowd.iter().filter(|one| one.holds()).count() <= max);
        }
        // Calm. One after the other gives back what it has, and somebody else gets it.
        for _ in 0..=count {
            for _ in 0..60 {
                for one in &mut crowd { one.befall(Luck::Works, &mut model); }
            }
            let want = crowd.iter().filter(|one| !one.rests()).count();
            let hold = crowd.iter().filter(|one| one.holds()).count();
            prop_assert_eq!(hold, want.min(max), "of {} who want", want);
            prop_assert_eq!(model.places.len(), hold, "ghosts on places");
            prop_assert_eq!(model.line.len(), want - hold, "ghosts in line: {:?}", model.line);
            if let Some(one) = crowd.iter_mut().find(|one| one.holds()) { one.befall(Luck::Withdraws, &mut model); }
        }
        prop_assert!(model.places.is_empty() && model.line.is_empty());
    }
}
