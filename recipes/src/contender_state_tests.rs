//! A crowd of candidacies against a model of ZooKeeper that loses requests, replies, connections and sessions.

use proptest::prelude::*;

use super::*;
use crate::node_names::Naming;

/// The part of ZooKeeper that an election sees: ephemeral sequential znodes and whose they are.
#[derive(Default)]
struct Model {
    line: Vec<(String, i64)>,
    counter: u32,
    sessions: i64,
}

impl Model {
    fn create(&mut self, prefix: &str, session: i64) -> String {
        let name = format!("{prefix}{:010}", self.counter);
        self.counter += 1;
        self.line.push((name.clone(), session));
        name
    }

    fn delete(&mut self, name: &str) {
        self.line.retain(|(other, _)| other != name);
    }

    fn expire(&mut self, session: i64) {
        self.line.retain(|(_, owner)| *owner != session);
    }

    fn children(&self) -> Vec<String> {
        self.line.iter().map(|(name, _)| name.clone()).collect()
    }
}

struct Contender {
    candidacy: ContenderState,
    session: i64,
    connected: bool,
}

/// What befalls one contender in one turn.
#[derive(Clone, Copy, Debug)]
enum Luck {
    /// The step is carried out and its answer arrives.
    Works,
    /// The request is lost, and so is the connection.
    LostBefore,
    /// The request takes effect, the reply and the connection are lost.
    LostAfter,
    /// The request takes effect, but the client gave up waiting for its reply; the connection stands.
    TimedOut,
    /// The connection drops between steps.
    Drops,
    /// It comes back.
    Returns,
    /// The session ends: the lease first, as it must, then the znodes.
    Expires,
    /// The client gives its session up and has a new one, but the servers keep the old one's znodes for a while.
    GivesUp,
    /// Somebody deletes its znodes by hand.
    Robbed,
    /// Its leader's code, if it runs, is done.
    Done,
    /// It does not want any more, whatever it is doing.
    Withdraws,
    /// So too, but only after its request has been sent, and its answer is never heard.
    WithdrawsMeanwhile,
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        12 => Just(Luck::Works),
        2 => Just(Luck::LostBefore),
        2 => Just(Luck::LostAfter),
        1 => Just(Luck::TimedOut),
        1 => Just(Luck::Drops),
        6 => Just(Luck::Returns),
        1 => Just(Luck::Expires),
        1 => Just(Luck::GivesUp),
        1 => Just(Luck::Robbed),
        1 => Just(Luck::Done),
        1 => Just(Luck::Withdraws),
        1 => Just(Luck::WithdrawsMeanwhile),
    ]
}

impl Contender {
    fn new(role: Role, number: usize) -> Contender {
        let candidacy = ContenderState::new(role, ContenderId::from_number(number as u128));
        Contender { candidacy, session: 0, connected: false }
    }

    fn connect(&mut self, model: &mut Model) {
        if self.session == 0 {
            model.sessions += 1;
            self.session = model.sessions;
        }
        self.connected = true;
        self.candidacy.on(Event::LinkUp(self.session));
    }

    fn disconnect(&mut self) {
        self.connected = false;
        self.candidacy.on(Event::LinkDown);
    }

    /// Carries out the present step. `answered`: whether the candidacy is told.
    fn work(&mut self, model: &mut Model, answered: bool) {
        let event = match self.candidacy.step() {
            Step::AwaitLink => return self.connect(model),
            Step::Rest => return,
            Step::Look => {
                let children = model.children();
                let names = self.candidacy.ours(&children);
                let ours =
                    model.line.iter().filter(|(name, _)| names.contains(&name.as_str())).cloned().collect();
                Event::Seen { children, ours }
            }
            Step::Delete(name) => {
                model.delete(&name);
                Event::Deleted(name)
            }
            Step::Create => Event::Created(model.create(&self.candidacy.prefix(), self.session)),
            // Watches: whoever waits is stirred when what it watches is gone, and nobody is for nothing.
            Step::Wait { own, predecessor, .. } => {
                let stands = |name: &str| model.line.iter().any(|(other, _)| other == name);
                if stands(&own) && stands(&predecessor) {
                    return;
                }
                Event::Stirred
            }
            Step::Lead { own } => {
                if model.line.iter().any(|(name, _)| *name == own) {
                    return;
                }
                Event::Deposed
            }
        };
        if answered {
            self.candidacy.on(event);
        }
    }

    fn rests(&self) -> bool {
        self.candidacy.step() == Step::Rest
    }

    fn leads(&self) -> bool {
        matches!(self.candidacy.step(), Step::Lead { .. })
    }

    fn befall(&mut self, luck: Luck, model: &mut Model) {
        match luck {
            Luck::Works => self.work(model, true),
            Luck::LostBefore => self.disconnect(),
            Luck::LostAfter if self.connected => {
                self.work(model, false);
                self.disconnect();
            }
            Luck::TimedOut if self.connected && !self.leads() => {
                self.work(model, false);
                self.candidacy.on(Event::Unclear);
            }
            Luck::LostAfter | Luck::TimedOut => {}
            Luck::Drops => self.disconnect(),
            Luck::Returns if !self.connected => self.connect(model),
            Luck::Returns => {}
            Luck::Expires => {
                self.disconnect();
                model.expire(self.session);
                self.session = 0;
            }
            Luck::GivesUp => {
                self.disconnect();
                self.session = 0;
            }
            Luck::Done if self.leads() => self.candidacy.on(Event::Done),
            Luck::Done => {}
            Luck::Withdraws => self.candidacy.on(Event::Withdraw),
            Luck::WithdrawsMeanwhile if self.connected => {
                self.work(model, false);
                self.candidacy.on(Event::Withdraw);
            }
            Luck::WithdrawsMeanwhile => {}
            Luck::Robbed => {
                // The watch on its own znode deposes whoever loses it, before anyone else can see it gone.
                let names = model.children();
                for name in self.candidacy.ours(&names) {
                    model.delete(name);
                }
                self.candidacy.on(Event::Deposed);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn never_two_lead_and_in_the_end_one_does(naming in naming(), count in 1usize..6, turns in prop::collection::vec((0usize..6, luck()), 0..200)) {
        let mut model = Model::default();
        let mut crowd: Vec<Contender> = (0..count).map(|number| Contender::new(naming.into(), number)).collect();
        for (who, luck) in turns {
            crowd[who % count].befall(luck, &mut model);
            let leaders = crowd.iter().filter(|contender| contender.leads()).count();
            prop_assert!(leaders <= 1, "{leaders} lead");
        }
        calm(&mut crowd, &mut model);
        let standing = crowd.iter().filter(|contender| !contender.rests()).count();
        prop_assert_eq!(crowd.iter().filter(|contender| contender.leads()).count(), standing.min(1));
        everyone_stands_once(&crowd, &model)?;
    }

    /// Readers lead together, a writer leads alone, and in the end nobody waits but for whoever leads.
    #[test]
    fn readers_lead_together_and_writers_alone(reads in prop::collection::vec(any::<bool>(), 1..6), turns in prop::collection::vec((0usize..6, luck()), 0..200)) {
        let mut model = Model::default();
        let role = |reads: &bool| if *reads { Role::Reader } else { Role::Writer };
        let mut crowd: Vec<Contender> =
            reads.iter().enumerate().map(|(number, reads)| Contender::new(role(reads), number)).collect();
        for (who, luck) in turns {
            crowd[who % reads.len()].befall(luck, &mut model);
            let leaders: Vec<Role> = crowd.iter().filter(|one| one.leads()).map(|one| one.candidacy.role()).collect();
            prop_assert!(leaders.len() <= 1 || !leaders.contains(&Role::Writer), "{leaders:?}");
        }
        calm(&mut crowd, &mut model);
        // One after the other has its turn.
        for _ in 0..=crowd.len() {
            let standing = crowd.iter().filter(|contender| !contender.rests()).count();
            let leaders = crowd.iter().filter(|contender| contender.leads()).count();
            prop_assert_eq!(leaders == 0, standing == 0, "{} stand, nobody leads", standing);
            everyone_stands_once(&crowd, &model)?;
            for contender in crowd.iter_mut().filter(|one| one.leads()).take(1) { contender.befall(Luck::Done, &mut model); }
            calm(&mut crowd, &mut model);
        }
        prop_assert!(model.line.is_empty());
    }
}

fn naming() -> impl Strategy<Value = Naming> {
    prop_oneof![Just(Naming::Kazoo), Just(Naming::CuratorLatch), Just(Naming::CuratorLock)]
}

/// Nothing fails any more, for long enough that everyone gets to where it can.
fn calm(crowd: &mut [Contender], model: &mut Model) {
    for _ in 0..40 {
        for contender in &mut *crowd {
            contender.befall(Luck::Works, model);
        }
    }
}

/// Whoever is not done stands in line exactly once, and nobody else does.
fn everyone_stands_once(crowd: &[Contender], model: &Model) -> Result<(), TestCaseError> {
    let standing = crowd.iter().filter(|contender| !contender.rests()).count();
    prop_assert_eq!(model.line.len(), standing, "ghosts in line: {:?}", model.line);
    for contender in crowd {
        let here = model.line.iter().filter(|(name, _)| contender.candidacy.token.owns(name)).count();
        prop_assert_eq!(here, usize::from(!contender.rests()));
    }
    Ok(())
}

#[test]
fn whoever_withdraws_before_it_began_never_asks_for_anything() {
    let mut candidacy = ContenderState::new(Naming::Kazoo, ContenderId::from_number(7));
    candidacy.on(Event::Withdraw);
    assert_eq!(candidacy.step(), Step::Rest);
}

#[test]
fn whoever_withdraws_during_its_create_looks_for_what_it_may_have_made() {
    let mut candidacy = ContenderState::new(Naming::Kazoo, ContenderId::from_number(7));
    candidacy.on(Event::LinkUp(1));
    assert_eq!(candidacy.step(), Step::Create);
    candidacy.on(Event::Withdraw);
    assert_eq!(candidacy.step(), Step::Look);
    let name = format!("{}0000000003", candidacy.prefix());
    candidacy.on(Event::Seen { children: vec![name.clone()], ours: vec![(name.clone(), 1)] });
    assert_eq!(candidacy.step(), Step::Delete(name.clone()));
    candidacy.on(Event::Deleted(name));
    assert_eq!(candidacy.step(), Step::Rest);
}

#[test]
fn a_create_whose_reply_was_lost_is_found_again() {
    let mut candidacy = ContenderState::new(Naming::Kazoo, ContenderId::from_number(7));
    candidacy.on(Event::LinkUp(1));
    assert_eq!(candidacy.step(), Step::Create);
    candidacy.on(Event::LinkDown);
    candidacy.on(Event::LinkUp(1));
    assert_eq!(candidacy.step(), Step::Look);
    let name = format!("{}0000000003", candidacy.prefix());
    candidacy.on(Event::Seen { children: vec![name.clone()], ours: vec![(name.clone(), 1)] });
    assert_eq!(candidacy.step(), Step::Lead { own: name });
}

#[test]
fn whoever_is_done_leaves_the_line_over_the_next_connection() {
    let mut candidacy = ContenderState::new(Naming::Kazoo, ContenderId::from_number(7));
    candidacy.on(Event::LinkUp(1));
    let name = format!("{}0000000003", candidacy.prefix());
    let seen = Event::Seen { children: vec![name.clone()], ours: vec![(name.clone(), 1)] };
    candidacy.on(Event::Created(name.clone()));
    candidacy.on(seen.clone());
    candidacy.on(Event::Done);
    assert_eq!(candidacy.step(), Step::Delete(name.clone()));
    candidacy.on(Event::LinkDown);
    candidacy.on(Event::LinkUp(1));
    assert_eq!(candidacy.step(), Step::Look);
    candidacy.on(seen);
    assert_eq!(candidacy.step(), Step::Delete(name.clone()), "it must not lead again");
    candidacy.on(Event::Deleted(name));
    candidacy.on(Event::LinkDown);
    assert_eq!(candidacy.step(), Step::Rest);
}

#[test]
fn a_late_answer_while_offline_changes_nothing() {
    let mut candidacy = ContenderState::new(Naming::Kazoo, ContenderId::from_number(7));
    candidacy.on(Event::LinkUp(1));
    candidacy.on(Event::LinkDown);
    candidacy.on(Event::Created("x__lock__0000000000".into()));
    candidacy.on(Event::Seen { children: vec![], ours: vec![] });
    assert_eq!(candidacy.step(), Step::AwaitLink);
}
