//! The counter that the leader writes with each cycle, or the reason why it cannot. A cycle never waits for it.

use atalaya_recipes::{Connection, Error, WrongZnode, WrongZnodeReporter, ZnodeProblem};
use tracing::warn;

use crate::leader::fenced_store::CounterValue;
use crate::model::counter::PATH;

#[derive(Debug, Default)]
pub(super) struct CounterReader {
    logged: Option<String>,
    /// True if ZooKeeper has rejected a write: then none is tried again until the fence is reloaded.
    refused: bool,
    wrong_znodes: WrongZnodeReporter,
}

impl CounterReader {
    /// Reads the counter, and creates it if it is missing. Returns `None` if cycles cannot be counted.
    ///
    /// # Errors
    /// The connection failed, or another client deleted the counter: try again.
    pub(super) async fn read(&mut self, connection: &Connection) -> Result<Option<CounterValue>, Error> {
        if self.refused {
            return Ok(None);
        }
        let (data, stat) = match connection.get_or_create(PATH).await {
            Ok(found) => found,
            Err(error) if error.is_connection_loss() || error.is_no_node() => return Err(error),
            Err(error) => {
                self.warn_once(error.to_string());
                return Ok(None);
            }
        };
        let text = String::from_utf8_lossy(&data);
        let value = if text.trim().is_empty() { Some(0) } else { text.trim().parse().ok() };
        let Some(value) = value else {
            let wrong = WrongZnode::new(PATH, ZnodeProblem::NotANumber);
            self.wrong_znodes.update(connection.session(), [wrong]);
            self.warn_once(format!("{PATH} does not hold a whole number"));
            return Ok(None);
        };
        self.wrong_znodes.update(connection.session(), WrongZnode::not_persistent(PATH, &stat));
        self.logged = None;
        Ok(Some(CounterValue { value, version: stat.version }))
    }

    pub(super) fn on_rejected(&mut self, error: &Error) {
        // If another client wrote or deleted it first, the write is not forbidden.
        if !error.is_bad_version() && !error.is_no_node() {
            self.refused = true;
            self.warn_once(error.to_string());
        }
    }

    fn warn_once(&mut self, reason: String) {
        if self.logged.replace(reason.clone()).as_ref() != Some(&reason) {
            warn!("cycles are not counted: {reason}");
        }
    }
}
