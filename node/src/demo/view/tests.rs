use std::time::Duration;

use jiff::Timestamp;

use atalaya_recipes::persistent_node::NodeState;
use atalaya_recipes::{Phase, SessionState, Standing};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use tracing::Level;

use super::*;
use crate::demo::fleet::Condition;
use crate::demo::happening::Happening;
use crate::demo::journal::Said;
use crate::demo::ledger::{Arrival, Verdict};
use crate::demo::script::ApiMode;
use crate::model::report::{Average, CycleReport};
use crate::observe::node_status::{Measured, NodeStatus, SensorErrors};

/// A fleet in the middle of its life: node 1 leads, the others wait, one average arrived and one waits.
fn state(nodes: u32) -> (State, Instant) {
    let start = Instant::now();
    let now = start + Duration::from_secs(3_723);
    let places = ("127.0.0.1:2181".to_owned(), "http://127.0.0.1:8000/".to_owned());
    let mut state = State::new(nodes, Duration::from_secs(1), places, start);
    let timeout = Duration::from_secs(5);
    for (ahead, row) in state.rows.iter_mut().enumerate() {
        row.vitals = NodeStatus {
            session: Some(SessionState { phase: Phase::Connected, connection: 1, session: 0x1234, timeout }),
            standing: if ahead == 0 { Standing::Leading } else { Standing::Waiting { ahead } },
            measured: Some(Measured { data: b"78.40"[..].into(), at: now - Duration::from_millis(300) }),
            published: NodeState { held: true, stored: 9, zxid: 9 },
            sensor_errors: SensorErrors::new(),
            wrong_znodes: std::collections::BTreeSet::new(),
        };
    }
    for (cycle, mean) in [(1, 79.0), (2, 80.0)] {
        let (unit, count) = (Some("Cel".to_owned()), state.rows.len());
        let average = Average { quantity: None, unit, mean, min: 75.0, max: 85.0, stddev: None, count };
        let report =
            CycleReport::new(5, cycle, Timestamp::UNIX_EPOCH, vec![average], 0).reports().next().unwrap();
        state.on(Happening::Averaged(report), now - Duration::from_secs(9 - cycle));
    }
    let arrival = Arrival { epoch: 5, cycle: 1, unit: Some("Cel".to_owned()), mean: 79.0, count: 3 };
    state.on(Happening::Arrived(arrival, Verdict::New), now);
    let said = Said { at: now, node: Some(2), level: Level::WARN, text: "the connection is lost".to_owned() };
    state.on(Happening::Said(said), now);
    (state, now)
}

fn drawn(state: &State, sight: &mut Sight, now: Instant, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state, sight, now)).unwrap();
    let lines = terminal.backend().buffer().content().chunks(width.into());
    lines.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
}

#[test]
fn at_80_by_24_everything_that_matters_is_there() {
    let (state, now) = state(3);
    let text = drawn(&state, &mut Sight::default(), now, (80, 24));
    for words in [
        "3 nodes, every 1s",
        "ZooKeeper up",
        "API up",
        "1:02:03",
        "leads",
        "follows",
        "78.4",
        "0.3s",
        "ok",
        "Average 80.00 Cel of 3",
        "-60s",
        "the connection is lost",
        "averages 2",
        "delivered 1",
        "waiting 1",
        "lost 0",
        "sessions 0",
        "? help",
        "q quit",
    ] {
        assert!(text.contains(words), "no \"{words}\" in\n{text}");
    }
    // Two points and their two names in the legend.
    assert_eq!(text.matches('•').count(), 4, "{text}");
}

#[test]
fn any_size_can_be_drawn_and_a_small_one_says_what_is_wrong() {
    let (mut state, now) = state(1_000);
    state.rows[1].condition = Condition::Dead(Some("a very long reason ".repeat(20)));
    state.rows[2].condition = Condition::Hung;
    state.api = ApiMode::Hanging;
    for size in [(1, 1), (60, 15), (60, 16), (80, 24), (81, 25), (120, 40), (300, 100)] {
        for help in [false, true] {
            let mut sight = Sight { help, ..Sight::default() };
            let text = drawn(&state, &mut sight, now, size);
            assert_eq!(text.contains("too small"), size == (60, 15), "{size:?}\n{text}");
        }
    }
}

#[test]
fn of_a_thousand_nodes_the_chosen_one_is_in_sight() {
    let (state, now) = state(1_000);
    let mut sight = Sight::default();
    let shown = |sight: &mut Sight| drawn(&state, sight, now, (80, 24));
    assert!(shown(&mut sight).contains("leads"));
    sight.jump(true, 1_000);
    let text = shown(&mut sight);
    assert!(text.contains("│1000 ") && text.contains("of 1000"), "{text}");
    assert_eq!(sight.chosen(), 1_000);
    sight.move_by(-1, 1_000);
    assert!(shown(&mut sight).contains("│999 "));
    sight.move_by(5, 1_000);
    assert_eq!(sight.chosen(), 1_000);
    sight.jump(false, 1_000);
    assert!(shown(&mut sight).contains("leads"));
    sight.move_by(-5, 1_000);
    assert_eq!(sight.chosen(), 1);
}

#[test]
fn the_help_fits_into_80_by_24() {
    let (state, now) = state(3);
    let text = drawn(&state, &mut Sight { help: true, ..Sight::default() }, now, (80, 24));
    for words in ["choose a node", "has to time out", "has them all", "Ctrl-C", "was deposed"] {
        assert!(text.contains(words), "no \"{words}\" in\n{text}");
    }
}
