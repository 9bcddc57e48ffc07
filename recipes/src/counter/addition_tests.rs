//! Concurrent additions against a model of the znodes that loses requests and replies, and delivers lost requests late.

use proptest::prelude::*;

use super::*;

/// Version of a dedup record, and the number and the sum of the addition in it.
type Record = (i32, Option<(usize, i64)>);

/// A counter, and the dedup record of each client.
struct Model {
    value: i64,
    at: ZnodeVersion,
    records: Vec<Option<Record>>,
    /// Lost requests that may still arrive.
    delayed: Vec<(usize, usize, SumWrite)>,
}

impl Model {
    /// Writes for addition number `number` of `client`. Returns false if a version does not match.
    fn write(&mut self, client: usize, number: usize, write: SumWrite) -> bool {
        if write.at != self.at {
            return false;
        }
        if let Some(expected) = write.record_version {
            match &mut self.records[client] {
                Some((version, addition)) if *version == expected => {
                    *version += 1;
                    *addition = Some((number, write.sum));
                }
                _ => return false,
            }
        }
        self.value = write.sum;
        self.at.version += 1;
        true
    }

    /// Executes the next step of `client`, unless its addition has ended.
    fn step(&mut self, client: usize, state: &mut Client, fault: Fault) {
        let event = match state.addition.step() {
            Step::Read => {
                let record = match (state.exact, self.records[client]) {
                    (false, _) => AdditionRecord::Unused,
                    (true, None) => AdditionRecord::Missing,
                    (true, Some((_, Some((number, sum))))) if number == state.number => {
                        AdditionRecord::Own(sum)
                    }
                    (true, Some((version, _))) => AdditionRecord::Other(version),
                };
                Event::Read { value: self.value, at: self.at, record }
            }
            Step::CreateRecord => {
                self.records[client].get_or_insert((0, None));
                Event::RecordCreated
            }
            Step::Write(write) => match fault {
                Fault::RequestLost => Event::OutcomeUnknown,
                Fault::RequestDelayed => {
                    self.delayed.push((client, state.number, write));
                    Event::OutcomeUnknown
                }
                _ if !self.write(client, state.number, write) => Event::Stale,
                Fault::ReplyLost => Event::OutcomeUnknown,
                _ => Event::Written,
            },
            Step::Counted(_) | Step::Overflow(_) | Step::Unknown => return,
        };
        state.addition.on(event);
    }

    /// Delivers the request that was delayed last.
    fn deliver(&mut self) {
        if let Some((client, number, write)) = self.delayed.pop() {
            self.write(client, number, write);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    RequestLost,
    ReplyLost,
    /// The client gets no reply, and the request arrives later.
    RequestDelayed,
    /// A delayed request arrives.
    DelayedArrives,
    /// The caller gives up, or is cancelled, and starts another addition.
    CallerGivesUp,
    /// The dedup record is deleted.
    RecordDeleted,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        12 => Just(Fault::None),
        2 => Just(Fault::RequestLost),
        2 => Just(Fault::ReplyLost),
        2 => Just(Fault::RequestDelayed),
        2 => Just(Fault::DelayedArrives),
        1 => Just(Fault::CallerGivesUp),
        1 => Just(Fault::RecordDeleted),
    ]
}

struct Client {
    exact: bool,
    number: usize,
    addition: Addition,
    amount: i64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn addition_that_is_confirmed_counts_exactly_once(
        schedule in prop::collection::vec((0..3_usize, fault(), 1..3_i64), 1..200),
        exact in prop::array::uniform3(any::<bool>()),
    ) {
        let mut model = Model {
            value: 0,
            at: ZnodeVersion { czxid: 1, version: 0 },
            records: vec![None; 3],
            delayed: Vec::new(),
        };
        let mut clients: Vec<Client> = exact
            .iter()
            .map(|exact| Client { exact: *exact, number: 0, addition: Addition::new(1), amount: 1 })
            .collect();
        // Confirmed additions, and those with an unknown outcome.
        let (mut confirmed, mut unknown) = (0, 0);
        let without_faults = (0..3).flat_map(|client| std::iter::repeat_n((client, Fault::None, 1), 20));
        for (client, fault, next) in schedule.into_iter().chain(without_faults) {
            match fault {
                Fault::DelayedArrives => {
                    model.deliver();
                    continue;
                }
                Fault::RecordDeleted => {
                    model.records[client] = None;
                    continue;
                }
                _ => {}
            }
            let client_state = &mut clients[client];
            model.step(client, client_state, fault);
            let ended = match client_state.addition.step() {
                Step::Counted(_) => {
                    confirmed += client_state.amount;
                    true
                }
                Step::Unknown => {
                    unknown += client_state.amount;
                    true
                }
                _ if matches!(fault, Fault::CallerGivesUp) => {
                    if client_state.addition.has_unknown_outcome() {
                        unknown += client_state.amount;
                    }
                    true
                }
                _ => false,
            };
            if ended {
                client_state.number += 1;
                client_state.amount = next;
                client_state.addition = Addition::new(next);
            }
        }
        // Additions in progress may have counted as well.
        unknown += clients.iter().filter(|a| a.addition.has_unknown_outcome()).map(|a| a.amount).sum::<i64>();
        prop_assert!(model.value >= confirmed, "{} of {confirmed} confirmed additions counted", model.value);
        let limit = confirmed + unknown;
        prop_assert!(model.value <= limit, "{} instead of {confirmed} to {limit}", model.value);
        while !model.delayed.is_empty() {
            model.deliver();
        }
        prop_assert!(model.value <= limit, "a delayed request counted twice");
    }
}

#[test]
fn outcome_of_a_lost_write_is_always_known_with_a_dedup_record() {
    let at = ZnodeVersion { czxid: 1, version: 7 };
    let mut addition = Addition::new(2);
    addition.on(Event::Read { value: 40, at, record: AdditionRecord::Other(3) });
    let Step::Write(write) = addition.step() else { panic!("{addition:?}") };
    assert_eq!(write, SumWrite { sum: 42, at, record_version: Some(3) });
    addition.on(Event::OutcomeUnknown);
    assert!(addition.has_unknown_outcome());
    // Ten writes of other clients came after ours.
    let later = ZnodeVersion { version: 17, ..at };
    addition.on(Event::Read { value: 99, at: later, record: AdditionRecord::Own(42) });
    assert_eq!(addition.step(), Step::Counted(42));
}

#[test]
fn outcome_without_a_dedup_record_is_known_only_if_no_other_write_can_be_mistaken_for_it() {
    let at = ZnodeVersion { czxid: 1, version: 7 };
    let with_lost_write = || {
        let mut addition = Addition::new(2);
        addition.on(Event::Read { value: 40, at, record: AdditionRecord::Unused });
        addition.on(Event::OutcomeUnknown);
        addition
    };
    let read = |value, version| Event::Read {
        value,
        at: ZnodeVersion { version, ..at },
        record: AdditionRecord::Unused,
    };
    for (event, next) in
        [(read(40, 7), Some(42)), (read(41, 8), Some(43)), (read(42, 8), None), (read(43, 9), None)]
    {
        let mut addition = with_lost_write();
        addition.on(event);
        match (addition.step(), next) {
            (Step::Write(write), Some(sum)) => assert_eq!(write.sum, sum),
            (Step::Unknown, None) => {}
            other => panic!("{event:?}: {other:?}"),
        }
    }
}

#[test]
fn addition_beyond_64_bits_is_refused() {
    let mut addition = Addition::new(1);
    addition.on(Event::Read {
        value: i64::MAX,
        at: ZnodeVersion { czxid: 1, version: 0 },
        record: AdditionRecord::Unused,
    });
    assert_eq!(addition.step(), Step::Overflow(i64::MAX));
}
