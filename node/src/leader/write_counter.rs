//! The counter that a leader writes with each cycle, and reasons why it cannot. A cycle never waits for the counter.

use atalaya_recipes::{Connection, Error, WrongZnode, WrongZnodeReporter, ZnodeProblem};
use tracing::warn;

use crate::leader::fenced_store::COUNTER;

/// The counter as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    pub(super) value: i64,
    pub(super) version: i32,
}

/// Reasons for not counting. Each is logged once.
#[derive(Debug, Default)]
pub(super) struct CounterTrouble {
    logged: Option<String>,
    /// ZooKeeper has refused a write: none is tried again over this connection.
    refused: bool,
    sightings: WrongZnodeReporter,
}

impl CounterTrouble {
    /// Reads the counter, which is created if it is missing. `None` if cycles cannot be counted.
    ///
    /// # Errors
    /// The connection failed, or another client deleted the counter: try again.
    pub(super) async fn read(&mut self, connection: &Connection) -> Result<Option<Count>, Error> {
        if self.refused {
            return Ok(None);
        }
        let found = match connection.get(COUNTER).await {
            Err(error) if error.is_no_node() => match connection.ensure(COUNTER).await {
                Ok(()) => connection.get(COUNTER).await,
                Err(error) => Err(error),
            },
            found => found,
        };
        let (data, stat) = match found {
            Ok(found) => found,
            Err(error) if error.is_connection_loss() || error.is_no_node() => return Err(error),
            Err(error) => {
                self.log(error.to_string());
                return Ok(None);
            }
        };
        let text = String::from_utf8_lossy(&data);
        let value = if text.trim().is_empty() { Some(0) } else { text.trim().parse().ok() };
        let Some(value) = value else {
            self.sightings.update(connection.session(), [WrongZnode::new(COUNTER, ZnodeProblem::NotANumber)]);
            self.log(format!("{COUNTER} holds something other than a whole number"));
            return Ok(None);
        };
        self.sightings.update(connection.session(), WrongZnode::not_persistent(COUNTER, &stat));
        self.logged = None;
        Ok(Some(Count { value, version: stat.version }))
    }

    /// Notes that ZooKeeper has refused to write the counter.
    pub(super) fn refused(&mut self, error: &Error) {
        // Another client wrote or deleted it first, which is not a refusal.
        if !error.is_bad_version() && !error.is_no_node() {
            self.refused = true;
            self.log(error.to_string());
        }
    }

    fn log(&mut self, reason: String) {
        if self.logged.as_ref() != Some(&reason) {
            warn!("cycles are not counted: {reason}");
            self.logged = Some(reason);
        }
    }
}
