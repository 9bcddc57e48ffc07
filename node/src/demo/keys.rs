//! Keys and their actions, with the help text next to them so that both agree. No I/O.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::script::{ApiMode, Fault, Target};
use super::state::State;

/// Action that a key requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Inject(Fault),
    /// Submit a self-test of all sensors of all nodes.
    SubmitTask,
    /// Select the node this many rows further down, limited to the first and the last node.
    Move(isize),
    ToggleHelp,
    Redraw,
    /// Close the help, or end the demo.
    Quit,
}

/// Keys with their descriptions, for the help.
pub(crate) const KEYS: [(&str, &str); 13] = [
    ("↑ ↓", "select a node (also PgUp, PgDn, Home, End)"),
    ("k", "kill the selected node like kill -9: its session must time out"),
    ("h", "stop it like SIGSTOP: when it resumes, it can do no harm"),
    ("r", "revive it: start it again, or resume it"),
    ("x", "expire its session: ZooKeeper treats it as dead while it runs"),
    ("l", "kill the leader: the next contender takes over"),
    ("R", "revive all nodes"),
    ("a", "stop the API: averages wait; again: start it, and it receives them all"),
    ("A", "let the API hang: it never answers; again: it answers"),
    ("z", "stop ZooKeeper: nodes wait without a leader; again: start it"),
    ("t", "submit a task: a self-test of the sensors of all nodes"),
    ("?", "this help"),
    ("q", "end the demo (also Esc, Ctrl-C)"),
];

/// Number of rows that PgUp and PgDn move.
const PAGE: isize = 10;

/// Returns the action for an event of the terminal. `selected` is the number of the selected node.
pub(crate) fn action_for(event: &Event, state: &State, selected: u32) -> Option<Action> {
    let key = match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        Event::Resize(..) => return Some(Action::Redraw),
        _ => return None,
    };
    let KeyEvent { code, modifiers, .. } = key;
    if modifiers.contains(KeyModifiers::CONTROL) {
        return match code {
            KeyCode::Char('c' | 'C' | 'd') => Some(Action::Quit),
            KeyCode::Char('l') => Some(Action::Redraw),
            _ => None,
        };
    }
    let node = Target::Node(selected);
    let api = |mode| Fault::Api(if state.api == ApiMode::Up { mode } else { ApiMode::Up });
    Some(match code {
        KeyCode::Up => Action::Move(-1),
        KeyCode::Down => Action::Move(1),
        KeyCode::PageUp => Action::Move(-PAGE),
        KeyCode::PageDown => Action::Move(PAGE),
        KeyCode::Home => Action::Move(isize::MIN),
        KeyCode::End => Action::Move(isize::MAX),
        KeyCode::Char('k') => Action::Inject(Fault::Kill(node)),
        KeyCode::Char('h') => Action::Inject(Fault::Hang(node)),
        KeyCode::Char('r') => Action::Inject(Fault::Revive(node)),
        KeyCode::Char('x') => Action::Inject(Fault::Expire(node)),
        KeyCode::Char('l') => Action::Inject(Fault::Kill(Target::Leader)),
        KeyCode::Char('R') => Action::Inject(Fault::Revive(Target::All)),
        KeyCode::Char('a') => Action::Inject(api(ApiMode::Down)),
        KeyCode::Char('A') => Action::Inject(api(ApiMode::Hanging)),
        KeyCode::Char('z') if state.server.stopped => Action::Inject(Fault::StartZooKeeper),
        KeyCode::Char('z') => Action::Inject(Fault::StopZooKeeper),
        KeyCode::Char('t') => Action::SubmitTask,
        KeyCode::Char('?') | KeyCode::F(1) => Action::ToggleHelp,
        KeyCode::Char('q') | KeyCode::Esc => Action::Quit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn press(state: &State, code: KeyCode) -> Option<Action> {
        action_for(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)), state, 2)
    }

    #[test]
    fn toggle_keys_depend_on_the_current_state() {
        let mut state = State::new(3, Duration::from_secs(1), Default::default(), Instant::now());
        assert_eq!(press(&state, KeyCode::Char('a')), Some(Action::Inject(Fault::Api(ApiMode::Down))));
        assert_eq!(press(&state, KeyCode::Char('z')), Some(Action::Inject(Fault::StopZooKeeper)));
        (state.api, state.server.stopped) = (ApiMode::Hanging, true);
        assert_eq!(press(&state, KeyCode::Char('a')), Some(Action::Inject(Fault::Api(ApiMode::Up))));
        assert_eq!(press(&state, KeyCode::Char('z')), Some(Action::Inject(Fault::StartZooKeeper)));
        assert_eq!(press(&state, KeyCode::Char('k')), Some(Action::Inject(Fault::Kill(Target::Node(2)))));
    }

    #[test]
    fn every_key_in_the_help_has_an_action() {
        let state = State::new(3, Duration::from_secs(1), Default::default(), Instant::now());
        for (key, _) in KEYS.iter().filter(|(key, _)| key.chars().count() == 1) {
            let code = KeyCode::Char(key.chars().next().unwrap());
            assert!(press(&state, code).is_some(), "{key}");
        }
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(action_for(&Event::Key(interrupt), &state, 1), Some(Action::Quit));
        assert_eq!(press(&state, KeyCode::Char('w')), None);
    }
}
