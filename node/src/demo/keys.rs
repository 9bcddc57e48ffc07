//! What each key does. Pure; the help is written here too, so that both say the same.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::script::{ApiMode, Fault, Who};
use super::state::State;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To do something to the fleet.
    Fault(Fault),
    /// To choose another node: so many further down.
    Move(isize),
    /// To choose the first node, or the last.
    Jump {
        /// The last.
        last: bool,
    },
    /// To see or to close the help.
    Help,
    /// To draw anew.
    Redraw,
    /// To end the demo.
    Quit,
}

/// The keys, and what they do.
pub(crate) const KEYS: [(&str, &str); 12] = [
    ("↑ ↓", "choose a node (also PgUp, PgDn, Home, End)"),
    ("k", "kill the chosen node as kill -9 does: its session has to time out"),
    ("h", "hang it as SIGSTOP does: what it believes when it wakes does no harm"),
    ("r", "revive it: start it anew, or let it go on"),
    ("x", "expire its session: ZooKeeper takes it for dead while it lives"),
    ("l", "kill the leader, whoever it is: the next in line takes over"),
    ("R", "revive all"),
    ("a", "take the API away: averages wait; again: it is back, and has them all"),
    ("A", "let the API hang: it never answers; again: it does"),
    ("z", "stop ZooKeeper, or start it again: nodes wait, and nobody leads"),
    ("?", "this help"),
    ("q", "end the demo (also Esc, Ctrl-C)"),
];

/// Most lines that PgUp and PgDn go.
const PAGE: isize = 10;

/// What an event of the terminal asks for, if `chosen` is the number of the node that is chosen.
pub(crate) fn wish(event: &Event, state: &State, chosen: u32) -> Option<Wish> {
    let key = match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        Event::Resize(..) => return Some(Wish::Redraw),
        _ => return None,
    };
    let KeyEvent { code, modifiers, .. } = key;
    if modifiers.contains(KeyModifiers::CONTROL) {
        return match code {
            KeyCode::Char('c' | 'C' | 'd') => Some(Wish::Quit),
            KeyCode::Char('l') => Some(Wish::Redraw),
            _ => None,
        };
    }
    let node = Who::Node(chosen);
    let api = |mode| Fault::Api(if state.api == ApiMode::Up { mode } else { ApiMode::Up });
    let wish = match code {
        KeyCode::Up => Wish::Move(-1),
        KeyCode::Down => Wish::Move(1),
        KeyCode::PageUp => Wish::Move(-PAGE),
        KeyCode::PageDown => Wish::Move(PAGE),
        KeyCode::Home => Wish::Jump { last: false },
        KeyCode::End => Wish::Jump { last: true },
        KeyCode::Char('k') => Wish::Fault(Fault::Kill(node)),
        KeyCode::Char('h') => Wish::Fault(Fault::Hang(node)),
        KeyCode::Char('r') => Wish::Fault(Fault::Revive(node)),
        KeyCode::Char('x') => Wish::Fault(Fault::Expire(node)),
        KeyCode::Char('l') => Wish::Fault(Fault::Kill(Who::Leader)),
        KeyCode::Char('R') => Wish::Fault(Fault::Revive(Who::All)),
        KeyCode::Char('a') => Wish::Fault(api(ApiMode::Away)),
        KeyCode::Char('A') => Wish::Fault(api(ApiMode::Hanging)),
        KeyCode::Char('z') if state.zookeeper_up => Wish::Fault(Fault::StopZooKeeper),
        KeyCode::Char('z') => Wish::Fault(Fault::StartZooKeeper),
        KeyCode::Char('?') | KeyCode::F(1) => Wish::Help,
        KeyCode::Char('q') | KeyCode::Esc => Wish::Quit,
        _ => return None,
    };
    Some(wish)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn press(state: &State, code: KeyCode) -> Option<Wish> {
        wish(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)), state, 2)
    }

    #[test]
    fn keys_that_toggle_know_how_things_are() {
        let mut state = State::new(3, Duration::from_secs(1), Default::default(), Instant::now());
        assert_eq!(press(&state, KeyCode::Char('a')), Some(Wish::Fault(Fault::Api(ApiMode::Away))));
        assert_eq!(press(&state, KeyCode::Char('z')), Some(Wish::Fault(Fault::StopZooKeeper)));
        (state.api, state.zookeeper_up) = (ApiMode::Hanging, false);
        assert_eq!(press(&state, KeyCode::Char('a')), Some(Wish::Fault(Fault::Api(ApiMode::Up))));
        assert_eq!(press(&state, KeyCode::Char('z')), Some(Wish::Fault(Fault::StartZooKeeper)));
        assert_eq!(press(&state, KeyCode::Char('k')), Some(Wish::Fault(Fault::Kill(Who::Node(2)))));
    }

    #[test]
    fn every_key_of_the_help_does_something() {
        let state = State::new(3, Duration::from_secs(1), Default::default(), Instant::now());
        for (key, _) in KEYS.iter().filter(|(key, _)| key.chars().count() == 1) {
            let code = KeyCode::Char(key.chars().next().unwrap());
            assert!(press(&state, code).is_some(), "{key}");
        }
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(wish(&Event::Key(interrupt), &state, 1), Some(Wish::Quit));
        assert_eq!(press(&state, KeyCode::Char('w')), None);
    }
}
