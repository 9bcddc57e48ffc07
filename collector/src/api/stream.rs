//! Reports as they are recorded, as server-sent events. A stream reads the store, not a queue: a client that is slow costs
//! nothing, and one that comes back with the `Last-Event-ID` that it had misses nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tracing::debug;

use super::App;
use super::problem::Problem;
use super::query::Query;
use crate::report::Record;

/// So many reports are read at a time.
const READ: usize = 100;
/// Another process may write to the same store: so often it is looked at in any case.
const LOOK: Duration = Duration::from_secs(5);

/// One client's.
struct Follower {
    app: Arc<App>,
    newest: watch::Receiver<i64>,
    last: i64,
    read: VecDeque<Record>,
    _place: Place,
}

/// Counted while it is held.
struct Place {
    app: Arc<App>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.app.metrics.streams.dec();
    }
}

impl Follower {
    /// `None`: the collector stops, or the store fails; the client comes back.
    async fn next(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.read.pop_front() {
                self.last = record.id;
                return Some(record);
            }
            self.newest.borrow_and_update();
            match self.app.store.since(self.last, READ).await {
                Ok(read) => self.read = read.into(),
                Err(error) => {
                    debug!(%error, "a stream ends");
                    return None;
                }
            }
            if self.read.is_empty() {
                tokio::select! {
                    () = self.app.stopping.cancelled() => return None,
                    changed = self.newest.changed() => changed.ok()?,
                    () = tokio::time::sleep(LOOK) => {}
                }
            } else if self.app.stopping.is_cancelled() {
                return None;
            }
        }
    }
}

/// Reports as they are recorded, in the order of their ids: events `report` whose data is the report as JSON.
#[utoipa::path(
    get, path = "/api/v1/stream", tag = "read",
    params(
        ("Last-Event-ID" = Option<i64>, Header, description = "The last id that was seen; from now on, if it is missing"),
        ("after" = Option<i64>, Query, description = "The same, for a first request; 0: all there are"),
    ),
    responses(
        (status = 200, description = "Events, until either side ends them", body = Record, content_type = "text/event-stream"),
        (status = 400, description = "It is not understood", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Try again", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn stream(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(asked): RawQuery,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let mut query = Query::parse(asked.unwrap_or_default().as_bytes())?;
    let after = query.take("after")?;
    query.finish()?;
    let seen = headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default().to_owned());
    let permit = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "streams", "Too many follow already", "try again later")
            .retry_after(30)
    })?;
    app.metrics.streams.inc();
    let place = Place { app: Arc::clone(&app), _permit: permit };
    let newest = app.newest.subscribe();
    let last = match seen.or(after) {
        Some(id) => {
            id.parse().map_err(|_| Problem::invalid("Last-Event-ID, or after: it is the id of no report"))?
        }
        None => app.store.newest().await?,
    };
    let follower = Follower { app, newest, last, read: VecDeque::new(), _place: place };
    let events = futures_util::stream::unfold(follower, |mut follower| async {
        let record = follower.next().await?;
        let event = Event::default().event("report").id(record.id.to_string());
        // Strings and finite numbers only: this cannot fail.
        let event = event.json_data(&record).ok()?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}
