use std::time::Duration;

use jiff::Timestamp;

use atalaya_collector::Outcome;
use atalaya_recipes::persistent_node::NodeState;
use atalaya_recipes::{Phase, SessionState, Standing};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use tracing::Level;

use super::*;
use crate::demo::Event;
use crate::demo::fleet::Condition;
use crate::demo::log_capture::LogLine;
use crate::demo::script::ApiMode;
use crate::model::report::{Average, CycleReport};
use crate::observe::node_status::{Measured, NodeStatus, SensorErrors};

/// Returns the state of a running fleet: node 1 is the leader, one average was delivered, and one is waiting.
fn state(nodes: u32) -> (State, Instant) {
    let start = Instant::now();
    let now = start + Duration::from_secs(3_723);
    let addresses = ("127.0.0.1:2181".to_owned(), "http://127.0.0.1:8000/".to_owned());
    let mut state = State::new(nodes, Duration::from_secs(1), addresses, start);
    let timeout = Duration::from_secs(5);
    for (ahead, row) in state.rows.iter_mut().enumerate() {
        row.status = NodeStatus {
            session: Some(SessionState { phase: Phase::Connected, connection: 1, session: 0x1234, timeout }),
            connect_error: None,
            standing: if ahead == 0 { Standing::Leading } else { Standing::Waiting { ahead } },
            measured: Some(Measured { data: b"78.40"[..].into(), at: now - Duration::from_millis(300) }),
            published: NodeState { held: true, stored: 9, zxid: 9 },
            sensor_errors: SensorErrors::new(),
            wrong_znodes: std::collections::BTreeSet::new(),
        };
    }
    for (cycle, mean) in [(1, 79.0), (2, 80.0)] {
        average(&mut state, cycle, mean, now - Duration::from_secs(9 - cycle));
    }
    let key = (5, 1, Some("Cel".to_owned()));
    state.on_event(Event::Received(key, Outcome::Recorded(1)), now);
    let line =
        LogLine { at: now, node: Some(2), level: Level::WARN, text: "the connection is lost".to_owned() };
    state.on_event(Event::Logged(line), now);
    (state, now)
}

fn average(state: &mut State, cycle: u64, mean: f64, now: Instant) {
    let (unit, count) = (Some("Cel".to_owned()), state.rows.len());
    let average =
        Average { quantity: None, unit, mean, min: 75.0, max: 85.0, stddev: None, count, details: None };
    let report =
        CycleReport::new(5, cycle, Timestamp::UNIX_EPOCH, vec![average], 0).reports().next().unwrap();
    state.on_event(Event::Averaged(report), now);
}

fn drawn(state: &State, view: &mut ViewState, now: Instant, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state, view, now)).unwrap();
    let lines = terminal.backend().buffer().content().chunks(width.into());
    lines.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
}

#[test]
fn screen_names_nodes_on_standby() {
    let (mut state, now) = state(3);
    state.rows[2].status.standing = Standing::Standby;
    let text = drawn(&state, &mut ViewState::default(), now, (80, 24));
    assert!(text.contains("standby"), "{text}");
}

#[test]
fn screen_and_help_of_80_by_24_have_all_essential_values() {
    let (state, now) = state(3);
    let text = drawn(&state, &mut ViewState::default(), now, (80, 24));
    for words in [
        "3 nodes, every 1s",
        "ZooKeeper up",
        "API up",
        "1:02:03",
        "leader",
        "follower",
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
        "t task",
        "q quit",
    ] {
        assert!(text.contains(words), "no \"{words}\" in\n{text}");
    }
    let help = drawn(&state, &mut ViewState { help: true, ..ViewState::default() }, now, (80, 24));
    for words in
        ["select a node", "submit a task", "must time out", "receives them all", "Ctrl-C", "deposed leader"]
    {
        assert!(help.contains(words), "no \"{words}\" in\n{help}");
    }
    // Two points and two entries in the legend.
    assert_eq!(text.matches('•').count(), 4, "{text}");
}

#[test]
fn averages_do_not_displace_events() {
    let (mut state, now) = state(3);
    for cycle in 3..=1_500 {
        average(&mut state, cycle, 80.0, now);
    }
    for size in [(60, 16), (80, 24), (120, 40)] {
        let text = drawn(&state, &mut ViewState::default(), now, size);
        assert!(text.contains("the connection is lost") && text.contains("cycle=1500"), "{size:?}\n{text}");
    }
}

#[test]
fn screen_can_be_drawn_in_any_size() {
    let (mut state, now) = state(1_000);
    state.rows[1].condition = Condition::Dead(Some("a very long reason ".repeat(20)));
    state.rows[2].condition = Condition::Hung;
    state.api = ApiMode::Hanging;
    for size in [(1, 1), (60, 15), (60, 16), (80, 24), (81, 25), (120, 40), (300, 100)] {
        for help in [false, true] {
            let mut view = ViewState { help, ..ViewState::default() };
            let text = drawn(&state, &mut view, now, size);
            assert_eq!(text.contains("too small"), size == (60, 15), "{size:?}\n{text}");
        }
    }
}

#[test]
fn selected_node_is_visible_among_a_thousand() {
    let (state, now) = state(1_000);
    let mut view = ViewState::default();
    let shown = |view: &mut ViewState| drawn(&state, view, now, (80, 24));
    assert!(shown(&mut view).contains("│1 "));
    view.move_by(isize::MAX, 1_000);
    let text = shown(&mut view);
    assert!(text.contains("│1000 ") && text.contains("of 1000"), "{text}");
    assert_eq!(view.selected(), 1_000);
    view.move_by(-1, 1_000);
    assert!(shown(&mut view).contains("│999 "));
    view.move_by(5, 1_000);
    assert_eq!(view.selected(), 1_000);
    view.move_by(isize::MIN, 1_000);
    assert!(shown(&mut view).contains("│1 "));
    view.move_by(-5, 1_000);
    assert_eq!(view.selected(), 1);
}
