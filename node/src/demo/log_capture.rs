//! Captures the log lines of all nodes, with the node that logged each of them, and sends them to the screen instead
//! of stderr.

use std::cell::Cell;
use std::fmt::Write as _;
use std::time::Instant;

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::leader::AVERAGES_TARGET;
use crate::model::text;

thread_local! {
    /// Number of the node that this thread runs at the moment. Not a tracing span, which would be entered at each poll.
    static CURRENT_NODE: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Attributes the log lines of this thread to a node, until dropped.
pub(super) struct CurrentNode {
    before: Option<u32>,
}

impl CurrentNode {
    pub(super) fn enter(node: u32) -> CurrentNode {
        CurrentNode { before: CURRENT_NODE.replace(Some(node)) }
    }
}

impl Drop for CurrentNode {
    fn drop(&mut self) {
        CURRENT_NODE.set(self.before);
    }
}

#[derive(Clone, Debug)]
pub(crate) struct LogLine {
    pub(crate) at: Instant,
    /// Number of the node; `None` if no node logged it.
    pub(crate) node: Option<u32>,
    pub(crate) level: Level,
    /// Message and fields.
    pub(crate) text: String,
}

pub(super) struct LogCapture(pub(super) mpsc::Sender<LogLine>);

/// Maximum number of lines that wait for the screen. Further lines are dropped while the screen is blocked.
pub(super) const QUEUE_SIZE: usize = 20_000;

impl<S: Subscriber> Layer<S> for LogCapture {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // Averages reach the demo over a channel of their own, with all their digits.
        if event.metadata().target() == AVERAGES_TARGET {
            return;
        }
        let mut formatter = Formatter::default();
        event.record(&mut formatter);
        let text = text::sanitize_line(&(formatter.message + &formatter.fields)).into_owned();
        let (node, level) = (CURRENT_NODE.get(), *event.metadata().level());
        // Fails if the queue is full, or at the end of the demo.
        let _ = self.0.try_send(LogLine { at: Instant::now(), node, level, text });
    }
}

/// Formats an event like the text log: the message, then ` field=value` for each other field.
#[derive(Default)]
struct Formatter {
    message: String,
    fields: String,
}

impl Visit for Formatter {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
