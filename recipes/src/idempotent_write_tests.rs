//! Property test of [`IdempotentWrite`] against a model that loses requests and responses, delays requests, and deletes
//! the record.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Fate {
    Works,
    LostBefore,
    LostAfter,
    Late,
    Arrives,
    RecordDeleted,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => Just(Fate::Works),
        2 => Just(Fate::LostBefore),
        2 => Just(Fate::LostAfter),
        2 => Just(Fate::Late),
        2 => Just(Fate::Arrives),
        1 => Just(Fate::RecordDeleted),
    ]
}

#[derive(Default)]
struct Model {
    /// Version of the record, and true if it identifies the write.
    record: Option<(i32, bool)>,
    effects: usize,
}

impl Model {
    fn write(&mut self, expected: i32) -> bool {
        match &mut self.record {
            Some((version, own)) if *version == expected => {
                (*version, *own) = (*version + 1, true);
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
    fn idempotent_write_takes_effect_once_or_reports_an_unknown_outcome(schedule in prop::collection::vec(fate(), 0..40)) {
        let mut model = Model::default();
        let mut late = Vec::new();
        let mut state = IdempotentWrite::new(None);
        for fate in schedule.into_iter().chain(std::iter::repeat_n(Fate::Works, 6)) {
            match (fate, state.step) {
                (Fate::Arrives, _) => drop(late.pop().map(|version| model.write(version))),
                (Fate::RecordDeleted, _) => model.record = None,
                (_, Step::ReadRecord) => state.on(Event::Read(match model.record {
                    None => RecordState::Missing,
                    Some((_, true)) => RecordState::Own(String::new()),
                    Some((version, false)) => RecordState::Other(version),
                })),
                (_, Step::CreateRecord) => {
                    model.record.get_or_insert((0, false));
                    state.on(Event::RecordCreated);
                }
                (Fate::LostBefore, Step::Write(_)) => state.on(Event::Lost),
                (Fate::Late, Step::Write(version)) => {
                    late.push(version);
                    state.on(Event::Lost);
                }
                (fate, Step::Write(version)) => {
                    let written = model.write(version);
                    state.on(match (written, fate) {
                        (false, _) => Event::Stale,
                        (true, Fate::LostAfter) => Event::Lost,
                        (true, _) => Event::Written,
                    });
                }
                (_, Step::Done | Step::Unknown) => {}
            }
        }
        prop_assert!(matches!(state.step, Step::Done | Step::Unknown), "{state:?}");
        for version in late {
            model.write(version);
        }
        prop_assert!(model.effects <= 1, "took effect {} times", model.effects);
        if state.step == Step::Done {
            prop_assert_eq!(model.effects, 1);
        }
    }
}
