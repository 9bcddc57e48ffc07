//! What the nodes say: their log lines, with who said it, on their way to the screen instead of to stderr.

use std::cell::Cell;
use std::fmt::Write as _;
use std::time::Instant;

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::leader::AVERAGES;
use crate::model::text;

thread_local! {
    /// Whose thread it is. Not a span: spans have room for 4 096 threads in one process.
    static SPEAKER: Cell<Option<u32>> = const { Cell::new(None) };
}

/// From now on whatever this thread logs is said by the node of that number.
pub(super) fn speak_for(node: u32) {
    SPEAKER.set(Some(node));
}

/// A log line.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// When.
    pub at: Instant,
    /// The number of the node; `None`: not a node.
    pub node: Option<u32>,
    /// How bad it is.
    pub level: Level,
    /// The words and the fields.
    pub text: String,
}

/// Hands log lines on.
pub(super) struct Journal {
    lines: mpsc::Sender<Said>,
}

/// Lines that wait to be shown. When the screen stands still, those that are more are dropped.
const WAITING: usize = 20_000;

impl Journal {
    /// The journal, and where its lines come out.
    pub(super) fn new() -> (Journal, mpsc::Receiver<Said>) {
        let (lines, said) = mpsc::channel(WAITING);
        (Journal { lines }, said)
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // Averages come another way, with all their digits.
        if event.metadata().target() == AVERAGES {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let text = text::sanitize_line(&(line.words + &line.fields)).into_owned();
        let (node, level) = (SPEAKER.get(), *event.metadata().level());
        // At the end nobody listens, and nobody can listen to everything.
        let _ = self.lines.try_send(Said { at: Instant::now(), node, level, text });
    }
}

/// The message, then ` field=value` for each other field, as the text log has it.
#[derive(Default)]
struct Line {
    words: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.words, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
