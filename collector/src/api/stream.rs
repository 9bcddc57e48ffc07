//! Stream of new reports, as server-sent events. A stream reads the store, not a queue: a slow client costs nothing,
//! and a client that reconnects with its `Last-Event-ID` misses nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use utoipa::IntoParams;

use crate::app::App;
use crate::auth::reader_token;
use crate::fleet_name::{FleetName, ZoneName};
use crate::limits::Client;
use crate::params::Params;
use crate::problem::Problem;
use crate::report::Record;
use crate::tokens::{Admission, Role};

/// Number of reports that are read at once.
const CHUNK: usize = 100;
/// Interval of polling the store, because another process may write to it.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamParams {
    /// Name of the fleet, by default `default`.
    fleet: Option<FleetName>,
    /// Zone of the fleet, by default none.
    zone: Option<ZoneName>,
    /// Id after which the stream begins, for a first request; 0 for all reports.
    after: Option<i64>,
}

/// Stream of one client.
struct Follower {
    app: Arc<App>,
    fleet: FleetName,
    newest: watch::Receiver<i64>,
    last: i64,
    read: VecDeque<Record>,
    /// Token of the client. It is checked again whenever tokens are replaced, and before each report.
    token: Option<String>,
    replaced: watch::Receiver<()>,
    /// Cancelled when another client needs the slot.
    evict: CancellationToken,
    _slot: Slot,
}

/// Slot of a stream. The stream is counted until the slot is dropped.
struct Slot {
    app: Arc<App>,
    id: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.app.metrics.streams.dec();
        self.app.streams.lock().unwrap_or_else(PoisonError::into_inner).leave(self.id);
    }
}

impl Follower {
    /// Returns the next report. `None`: the collector stops, the store fails, the token was revoked, or another client
    /// needs the slot; the client reconnects.
    async fn next(&mut self) -> Option<Record> {
        loop {
            self.replaced.borrow_and_update();
            let admission = self.app.options.tokens.admit(Role::Read, self.token.as_deref());
            if admission != Admission::Granted || self.evict.is_cancelled() {
                return None;
            }
            if let Some(record) = self.read.pop_front() {
                self.last = record.id;
                return Some(record);
            }
            self.newest.borrow_and_update();
            match self.app.store.since(&self.fleet, self.last, CHUNK).await {
                Ok(read) => self.read = read.into(),
                Err(error) => {
                    debug!(%error, "an event stream ends");
                    return None;
                }
            }
            if self.read.is_empty() {
                tokio::select! {
                    () = self.app.stopping.cancelled() => return None,
                    () = self.evict.cancelled() => return None,
                    replaced = self.replaced.changed() => replaced.ok()?,
                    changed = self.newest.changed() => changed.ok()?,
                    () = tokio::time::sleep(POLL_INTERVAL) => {}
                }
            } else if self.app.stopping.is_cancelled() {
                return None;
            }
        }
    }
}

/// Returns reports as they are recorded, ordered by id: events `report` whose data is the report as JSON.
#[utoipa::path(
    get, path = "/api/v1/stream", tag = "read",
    params(StreamParams, ("Last-Event-ID" = Option<i64>, Header,
        description = "Last id that the client has received. Without it and without `after`, the stream begins now")),
    responses((status = 200, description = "Events, until either side closes the connection", body = Record,
        content_type = "text/event-stream")),
)]
pub(super) async fn stream(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Params(StreamParams { fleet, zone, after }): Params<StreamParams>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let seen = headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default().parse::<i64>());
    let seen = seen.transpose().map_err(|_| Problem::invalid("Last-Event-ID is not the id of a report"))?;
    let entered = app.streams.lock().unwrap_or_else(PoisonError::into_inner).enter(&client);
    let (id, evict) = entered.ok_or_else(|| {
        let detail =
            "this client, or all clients together, have the maximum number of streams; try again later";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "streams", "Too many streams", detail).retry_after(30)
    })?;
    app.metrics.streams.inc();
    let slot = Slot { app: Arc::clone(&app), id };
    let (token, replaced) = (reader_token(&headers), app.options.tokens.replacements());
    let newest = app.newest.subscribe();
    let last = match seen.or(after) {
        Some(id) => id,
        None => app.store.newest().await?,
    };
    let (fleet, read) = (fleet.unwrap_or_default().in_zone(zone.as_ref()), VecDeque::new());
    let follower = Follower { app, fleet, newest, last, read, token, replaced, evict, _slot: slot };
    let events = futures_util::stream::unfold(follower, |mut follower| async {
        let record = follower.next().await?;
        let event = Event::default().event("report").id(record.id.to_string());
        // Cannot fail, because it contains only strings and finite numbers.
        let event = event.json_data(&record).ok()?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}
