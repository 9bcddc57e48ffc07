//! Adders against a model of two znodes that loses requests and replies, and lets lost requests come late.

use proptest::prelude::*;

use super::*;

/// A marker's version, and the number of the addition that it tells of, with its sum.
type Told = (i32, Option<(usize, i64)>);

/// A counter, and the marker of each adder.
struct Model {
    value: i64,
    at: At,
    markers: Vec<Option<Told>>,
    /// Requests that were lost on their way and may still come.
    late: Vec<(usize, usize, Sum)>,
}

impl Model {
    /// A write of adder `who` for its addition number `which`. False: stale.
    fn write(&mut self, who: usize, which: usize, sum: Sum) -> bool {
        if sum.at != self.at {
            return false;
        }
        if let Some(expected) = sum.marker {
            match &mut self.markers[who] {
                Some((version, told)) if *version == expected => {
                    *version += 1;
                    *told = Some((which, sum.to));
                }
                _ => return false,
            }
        }
        self.value = sum.to;
        self.at.version += 1;
        true
    }
}

#[derive(Clone, Copy, Debug)]
enum Luck {
    Works,
    LostBefore,
    LostAfter,
    /// The request is lost to the client, and comes when something else happens.
    Late,
    /// One of those comes.
    Comes,
    /// The caller gives up, or is cancelled, and begins another addition.
    GivesUp,
    /// The marker is removed.
    Swept,
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        12 => Just(Luck::Works),
        2 => Just(Luck::LostBefore),
        2 => Just(Luck::LostAfter),
        2 => Just(Luck::Late),
        2 => Just(Luck::Comes),
        1 => Just(Luck::GivesUp),
        1 => Just(Luck::Swept),
    ]
}

struct Adder {
    exact: bool,
    which: usize,
    addition: Addition,
    amount: i64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_counted_counted_once(
        schedule in prop::collection::vec((0..3_usize, luck(), 1..3_i64), 1..200),
        exact in prop::array::uniform3(any::<bool>()),
    ) {
        let mut model = Model {
            value: 0,
            at: At { czxid: 1, version: 0 },
            markers: vec![None; 3],
            late: Vec::new(),
        };
        let mut adders: Vec<Adder> = exact
            .iter()
            .map(|exact| Adder { exact: *exact, which: 0, addition: Addition::new(1), amount: 1 })
            .collect();
        // What surely counted, and what may have.
        let (mut sure, mut perhaps) = (0, 0);
        let works = (0..3).flat_map(|who| std::iter::repeat_n((who, Luck::Works, 1), 20));
        for (who, luck, next) in schedule.into_iter().chain(works) {
            match luck {
                Luck::Comes => {
                    if let Some((who, which, sum)) = model.late.pop() {
                        model.write(who, which, sum);
                    }
                    continue;
                }
                Luck::Swept => {
                    model.markers[who] = None;
                    continue;
                }
                _ => {}
            }
            let adder = &mut adders[who];
            match adder.addition.step() {
                Step::Look => {
                    let mark = match (adder.exact, model.markers[who]) {
                        (false, _) => Mark::Unused,
                        (true, None) => Mark::Absent,
                        (true, Some((_, Some((which, sum))))) if which == adder.which => Mark::Ours(sum),
                        (true, Some((version, _))) => Mark::Other(version),
                    };
                    adder.addition.on(Event::Seen { value: model.value, at: model.at, mark });
                }
                Step::Mark => {
                    model.markers[who].get_or_insert((0, None));
                    adder.addition.on(Event::Marked);
                }
                Step::Write(sum) => {
                    let event = match luck {
                        Luck::LostBefore => Event::Lost,
                        Luck::Late => {
                            model.late.push((who, adder.which, sum));
                            Event::Lost
                        }
                        _ if !model.write(who, adder.which, sum) => Event::Stale,
                        Luck::LostAfter => Event::Lost,
                        _ => Event::Written,
                    };
                    adder.addition.on(event);
                }
                Step::Counted(_) | Step::Overflow(_) | Step::Unknown => {}
            }
            let ended = match adder.addition.step() {
                Step::Counted(_) => {
                    sure += adder.amount;
                    true
                }
                Step::Unknown => {
                    perhaps += adder.amount;
                    true
                }
                _ if matches!(luck, Luck::GivesUp) => {
                    if adder.addition.is_at_risk() {
                        perhaps += adder.amount;
                    }
                    true
                }
                _ => false,
            };
            if ended {
                adder.which += 1;
                adder.amount = next;
                adder.addition = Addition::new(next);
            }
        }
        // What is not settled yet may have counted as well.
        perhaps += adders.iter().filter(|a| a.addition.is_at_risk()).map(|a| a.amount).sum::<i64>();
        prop_assert!(model.value >= sure, "{} of {sure} that surely counted", model.value);
        prop_assert!(model.value <= sure + perhaps, "{} where {sure} to {} counted", model.value, sure + perhaps);
        for _ in 0..model.late.len() {
            if let Some((who, which, sum)) = model.late.pop() {
                model.write(who, which, sum);
            }
        }
        prop_assert!(model.value <= sure + perhaps, "a late one counted twice");
    }
}

#[test]
fn with_a_marker_a_lost_write_is_always_settled() {
    let at = At { czxid: 1, version: 7 };
    let mut addition = Addition::new(2);
    addition.on(Event::Seen { value: 40, at, mark: Mark::Other(3) });
    let Step::Write(sum) = addition.step() else { panic!("{addition:?}") };
    assert_eq!(sum, Sum { to: 42, at, marker: Some(3) });
    addition.on(Event::Lost);
    assert!(addition.is_at_risk());
    // Others have written ten times since, and ours was the first.
    let later = At { version: 17, ..at };
    addition.on(Event::Seen { value: 99, at: later, mark: Mark::Ours(42) });
    assert_eq!(addition.step(), Step::Counted(42));
}

#[test]
fn without_a_marker_it_is_settled_only_if_nobody_can_be_mistaken_for_it() {
    let at = At { czxid: 1, version: 7 };
    let lost = || {
        let mut addition = Addition::new(2);
        addition.on(Event::Seen { value: 40, at, mark: Mark::Unused });
        addition.on(Event::Lost);
        addition
    };
    let seen = |value, version| Event::Seen { value, at: At { version, ..at }, mark: Mark::Unused };
    for (event, next) in
        [(seen(40, 7), Some(42)), (seen(41, 8), Some(43)), (seen(42, 8), None), (seen(43, 9), None)]
    {
        let mut addition = lost();
        addition.on(event);
        match (addition.step(), next) {
            (Step::Write(sum), Some(to)) => assert_eq!(sum.to, to),
            (Step::Unknown, None) => {}
            other => panic!("{event:?}: {other:?}"),
        }
    }
}

#[test]
fn a_sum_beyond_64_bits_is_refused() {
    let mut addition = Addition::new(1);
    addition.on(Event::Seen { value: i64::MAX, at: At { czxid: 1, version: 0 }, mark: Mark::Unused });
    assert_eq!(addition.step(), Step::Overflow(i64::MAX));
}
