//! A small HTTP client.

use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// Everything after the head.
    pub body: String,
}

/// Sends a GET request for `target` to the server at `address` (host and port), with additional header fields: names
/// and values.
pub fn get(address: &str, target: &str, head: &[(&str, &str)]) -> Result<Answer, String> {
    get_within(address, target, head, TIMEOUT)
}

/// Sends a request like [`get`], with another timeout.
pub(crate) fn get_within(
    address: &str,
    target: &str,
    head: &[(&str, &str)],
    timeout: Duration,
) -> Result<Answer, String> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(timeout))
        .build();
    let mut request = ureq::Agent::new_with_config(config).get(format!("http://{address}{target}"));
    for (name, value) in head {
        request = request.header(*name, *value);
    }
    let mut response = request.call().map_err(|error| error.to_string())?;
    let body = response.body_mut().read_to_string().map_err(|error| error.to_string())?;
    Ok(Answer { status: response.status().as_u16(), body })
}
