//! A writing against a marker that loses requests and replies, and lets lost requests come late.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Luck {
    Works,
    LostBefore,
    LostAfter,
    Late,
    Comes,
    Swept,
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        8 => Just(Luck::Works),
        2 => Just(Luck::LostBefore),
        2 => Just(Luck::LostAfter),
        2 => Just(Luck::Late),
        2 => Just(Luck::Comes),
        1 => Just(Luck::Swept),
    ]
}

#[derive(Default)]
struct Model {
    /// The marker: its version, and whether it tells of our writing.
    marker: Option<(i32, bool)>,
    effects: usize,
}

impl Model {
    fn write(&mut self, expected: i32) -> bool {
        match &mut self.marker {
            Some((version, ours)) if *version == expected => {
                (*version, *ours) = (*version + 1, true);
                self.effects += 1;
                true
            }
            _ => false,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn takes_effect_once_or_says_that_it_may_not_have(schedule in prop::collection::vec(luck(), 0..40)) {
        let mut model = Model::default();
        let mut late = Vec::new();
        let mut once = IdempotentWrite::new(None);
        for luck in schedule.into_iter().chain(std::iter::repeat_n(Luck::Works, 6)) {
            match (luck, once.step) {
                (Luck::Comes, _) => drop(late.pop().map(|version| model.write(version))),
                (Luck::Swept, _) => model.marker = None,
                (_, Step::Look) => once.on(Event::Seen(match model.marker {
                    None => Told::Absent,
                    Some((_, true)) => Told::Ours(String::new()),
                    Some((version, false)) => Told::Other(version),
                })),
                (_, Step::Mark) => {
                    model.marker.get_or_insert((0, false));
                    once.on(Event::Marked);
                }
                (Luck::LostBefore, Step::Write(_)) => once.on(Event::Lost),
                (Luck::Late, Step::Write(version)) => {
                    late.push(version);
                    once.on(Event::Lost);
                }
                (luck, Step::Write(version)) => {
                    let written = model.write(version);
                    once.on(match (written, luck) {
                        (false, _) => Event::Stale,
                        (true, Luck::LostAfter) => Event::Lost,
                        (true, _) => Event::Written,
                    });
                }
                (_, Step::Done | Step::Unknown) => {}
            }
        }
        prop_assert!(matches!(once.step, Step::Done | Step::Unknown), "{once:?}");
        for version in late {
            model.write(version);
        }
        prop_assert!(model.effects <= 1, "{} times", model.effects);
        if once.step == Step::Done {
            prop_assert_eq!(model.effects, 1);
        }
    }
}
