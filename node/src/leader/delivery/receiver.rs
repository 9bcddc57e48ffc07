//! Receiver of the reports of an outbox: the API, or an output of boards.toml.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::leader::delivery::api_client::Api;
use crate::leader::delivery::outcome::{Doubt, Outcome};
use crate::leader::delivery::queue::StateChange;
use crate::model::report::Report;
use crate::model::text::truncate;
use crate::outputs::{self, Output};

/// Maximum length of a reason, in characters. It may have the receiver's own words.
const MAX_REASON: usize = 300;

#[derive(Clone, Debug)]
pub(in crate::leader) enum Receiver {
    Api(Box<Api>),
    Output(Arc<Output>),
}

/// Two receivers are equal if they get the same requests.
impl PartialEq for Receiver {
    fn eq(&self, other: &Receiver) -> bool {
        match (self, other) {
            (Receiver::Api(api), Receiver::Api(other)) => api == other,
            (Receiver::Output(output), Receiver::Output(other)) => Arc::ptr_eq(output, other),
            _ => false,
        }
    }
}

impl Receiver {
    /// Sends a report and waits for the response, up to `timeout`.
    ///
    /// # Cancellation safety
    /// If the future is dropped, the receiver may have recorded the report or not.
    pub(super) async fn send(&self, report: &Report, timeout: Duration) -> Outcome {
        match self {
            Receiver::Api(api) => api.send(report, timeout).await,
            // Not every output limits the time of all of its steps, and a request without an end would hold a slot.
            Receiver::Output(output) => {
                match tokio::time::timeout(2 * timeout, output.send_report(report, timeout)).await {
                    Ok(outputs::Outcome::Accepted(_)) => Outcome::Accepted,
                    Ok(outputs::Outcome::Refused(reason)) => Outcome::Rejected(truncate(&reason, MAX_REASON)),
                    // A report that is tried after later ones would break the order.
                    Ok(outputs::Outcome::Doubtful(reason)) if !output.needs_order() => {
                        Outcome::Doubtful(Doubt::of_server_error(truncate(&reason, MAX_REASON)))
                    }
                    Ok(outputs::Outcome::Doubtful(reason) | outputs::Outcome::Failed(reason)) => {
                        Outcome::Failed(truncate(&reason, MAX_REASON))
                    }
                    Err(_) => Outcome::Failed(format!("no answer within {timeout:?}")),
                }
            }
        }
    }

    pub(super) fn log_change(&self, change: &StateChange, waiting: usize) {
        match self {
            Receiver::Api(api) => log_change_of_api(change, &api.display_url(), waiting),
            Receiver::Output(output) => log_change_of_output(change, &output.config.name, waiting),
        }
    }
}

fn log_change_of_api(change: &StateChange, url: &str, waiting: usize) {
    match change {
        StateChange::Failing(reason) => {
            warn!(url, waiting, "the API does not accept reports: {reason}; retrying");
        }
        StateChange::Rejecting(reason) => {
            warn!(url, "the API rejects reports: {reason}; they are kept: see atalaya reports list");
        }
        StateChange::Invalid(reason) => {
            warn!(url, "the API can never accept a report: {reason}; it is kept: see atalaya reports list");
        }
        StateChange::Accepting { dropped: 0 } => info!(url, waiting, "the API accepts reports again"),
        StateChange::Accepting { dropped } => {
            warn!(url, waiting, dropped, "the API accepts reports again; the oldest were dropped");
        }
    }
}

fn log_change_of_output(change: &StateChange, output: &str, waiting: usize) {
    match change {
        StateChange::Failing(reason) => {
            warn!(output, waiting, "the output does not accept reports: {reason}; retrying");
        }
        StateChange::Rejecting(reason) | StateChange::Invalid(reason) => {
            warn!(
                output,
                "the output rejects reports: {reason}; they are kept: see atalaya reports list --receiver {output}"
            );
        }
        StateChange::Accepting { dropped: 0 } => info!(output, waiting, "the output accepts reports again"),
        StateChange::Accepting { dropped } => {
            warn!(output, waiting, dropped, "the output accepts reports again; the oldest were dropped");
        }
    }
}
