//! What the nodes say: their log lines, with who said it, on their way to the screen instead of to stderr.

use std::fmt::Write as _;
use std::time::Instant;

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::happening::Happening;
use crate::leader::AVERAGES;

/// The span in which a node runs.
pub(super) const SPAN: &str = "node";

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
    happenings: mpsc::UnboundedSender<Happening>,
}

impl Journal {
    pub(super) fn new(happenings: mpsc::UnboundedSender<Happening>) -> Journal {
        Journal { happenings }
    }
}

/// The number of the node whose span it is.
struct Number(u32);

impl<S> Layer<S> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != SPAN {
            return;
        }
        let mut number = FindNumber(None);
        attributes.record(&mut number);
        if let (Some(number), Some(span)) = (number.0, context.span(id)) {
            span.extensions_mut().insert(Number(number));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // Averages come another way, with all their digits.
        if event.metadata().target() == AVERAGES {
            return;
        }
        let node = context
            .event_scope(event)
            .and_then(|mut scope| scope.find_map(|span| span.extensions().get::<Number>().map(|n| n.0)));
        let mut line = Line::default();
        event.record(&mut line);
        let text = line.words + &line.fields;
        let said = Said { at: Instant::now(), node, level: *event.metadata().level(), text };
        // At the end nobody listens.
        let _ = self.happenings.send(Happening::Said(said));
    }
}

struct FindNumber(Option<u32>);

impl Visit for FindNumber {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "number" {
            self.0 = u32::try_from(value).ok();
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
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
