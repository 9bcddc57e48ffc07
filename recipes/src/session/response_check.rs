//! Checks of what ZooKeeper's servers send, before the client library reads it. No I/O.
//!
//! The library reads a response of any announced length into memory, reserves memory for any announced number of names,
//! and panics on a response to `getData` that is too short. A [`ResponseCheck`] follows the bytes of both directions of
//! one connection and finds such responses as soon as the bytes that announce them have arrived.

use std::collections::HashMap;
use std::time::Duration;

/// Maximum number of names in a list of children, and of entries in other lists. Each takes about 60 bytes in memory,
/// however short it is.
pub const MAX_NAMES: usize = 200_000;

/// Length of the header of a response, without the length of the frame.
const HEADER: usize = 16;
/// Length of a `Stat`.
const STAT: usize = 68;
/// Minimum length of an entry of a list.
const MIN_ENTRY: usize = 4;

/// Operations whose responses are checked beyond their length.
const GET_DATA: i32 = 4;
/// `getACL`, `getChildren`, `getChildren2`, `getEphemerals` and `whoAmI`: the response begins with a number of entries.
const LISTS: [i32; 5] = [6, 8, 12, 103, 107];

/// Reason why a connection to a server was closed: the server is broken, hostile or not a ZooKeeper server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadResponse {
    /// A response is longer than [`SessionOptions::max_response`](super::SessionOptions::max_response), or too short.
    #[error(
        "announced a response of {length} bytes; the limit is {max} bytes (as jute.maxbuffer), the minimum 16"
    )]
    Length {
        /// Announced length.
        length: i32,
        /// Maximum length.
        max: usize,
    },
    /// A list, such as the children of a znode, has more than [`MAX_NAMES`] entries, or more than fit the response.
    #[error(
        "announced a list of {count} entries in a response of {length} bytes; the limit is {MAX_NAMES} entries"
    )]
    Count {
        /// Announced number of entries.
        count: i32,
        /// Length of the response.
        length: usize,
    },
    /// A response to `getData` has no `Stat`.
    #[error("sent a response to getData of only {length} bytes")]
    NoStat {
        /// Length of the response.
        length: usize,
    },
    /// A response was begun and not completed.
    #[error("did not complete a response within {0:?}")]
    Incomplete(Duration),
}

/// Finds the frames in a stream of bytes that arrives in pieces. `N` is the number of bytes of a frame, its length
/// included, that are of interest.
#[derive(Debug)]
struct FrameScanner<const N: usize> {
    head: [u8; N],
    /// Number of valid bytes in `head`.
    filled: usize,
    /// Length of the current frame without its first four bytes; valid once these have arrived.
    length: usize,
    /// Number of bytes of the current frame that follow `head` and have not arrived.
    rest: usize,
}

impl<const N: usize> FrameScanner<N> {
    fn new() -> FrameScanner<N> {
        FrameScanner { head: [0; N], filled: 0, length: 0, rest: 0 }
    }

    fn is_inside_frame(&self) -> bool {
        self.filled > 0 || self.rest > 0
    }

    /// Calls `check_length` with the length of each frame and then `on_head` with its first bytes, as soon as these have
    /// arrived.
    fn scan<E>(
        &mut self,
        mut bytes: &[u8],
        check_length: impl Fn(i32) -> Result<usize, E>,
        mut on_head: impl FnMut(&[u8], usize) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            bytes = &bytes[skipped..];
            let wanted = if self.filled < 4 { 4 } else { N.min(4 + self.length) };
            let (taken, others) = bytes.split_at(bytes.len().min(wanted - self.filled));
            self.head[self.filled..self.filled + taken.len()].copy_from_slice(taken);
            self.filled += taken.len();
            bytes = others;
            if self.filled == 4 && !taken.is_empty() {
                self.length = check_length(number_at(&self.head, 0).unwrap_or(-1))?;
            }
            if self.filled >= 4 && self.filled == N.min(4 + self.length) {
                on_head(&self.head[..self.filled], self.length)?;
                self.rest = 4 + self.length - self.filled;
                self.filled = 0;
            }
        }
        Ok(())
    }
}

/// Returns the number at `offset` of a frame, if the frame is long enough.
fn number_at(frame: &[u8], offset: usize) -> Option<i32> {
    frame.get(offset..)?.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
}

/// Follows the requests and responses of one connection.
#[derive(Debug)]
pub(super) struct ResponseCheck {
    max: usize,
    requests: FrameScanner<12>,
    responses: FrameScanner<24>,
    /// Set after the first request and the first response, which begin a session and have no header.
    begun: (bool, bool),
    /// Operations of the requests in flight, by `xid`, of those whose responses are checked.
    in_flight: HashMap<i32, i32>,
}

impl ResponseCheck {
    /// Returns a check that refuses responses longer than `max` bytes.
    pub(super) fn new(max: usize) -> ResponseCheck {
        ResponseCheck {
            max,
            requests: FrameScanner::new(),
            responses: FrameScanner::new(),
            begun: (false, false),
            in_flight: HashMap::new(),
        }
    }

    /// Records the requests in `bytes`, which the client library sends next.
    pub(super) fn on_requests(&mut self, bytes: &[u8]) {
        let length = |length: i32| Ok::<usize, ()>(usize::try_from(length).unwrap_or(0));
        let (begun, in_flight) = (&mut self.begun.0, &mut self.in_flight);
        // The closures return no error.
        let _ = self.requests.scan(bytes, length, |head, _| {
            if std::mem::replace(begun, true)
                && let (Some(xid), Some(operation)) = (number_at(head, 4), number_at(head, 8))
                && (operation == GET_DATA || LISTS.contains(&operation))
            {
                in_flight.insert(xid, operation);
            }
            Ok(())
        });
    }

    /// Checks `bytes`, which the server sent next. The client library must not read them after an error.
    pub(super) fn on_responses(&mut self, bytes: &[u8]) -> Result<(), BadResponse> {
        let max = self.max;
        let check_length = |length: i32| match usize::try_from(length) {
            Ok(valid) if (HEADER..=max).contains(&valid) => Ok(valid),
            _ => Err(BadResponse::Length { length, max }),
        };
        let (begun, in_flight) = (&mut self.begun.1, &mut self.in_flight);
        self.responses.scan(bytes, check_length, |head, length| {
            if !std::mem::replace(begun, true) {
                return Ok(());
            }
            let operation = number_at(head, 4).and_then(|xid| in_flight.remove(&xid));
            // Other responses have no body if the request failed.
            if number_at(head, 16) != Some(0) {
                return Ok(());
            }
            match (operation, number_at(head, 20)) {
                (Some(GET_DATA), _) if length < HEADER + 4 + STAT => Err(BadResponse::NoStat { length }),
                (Some(operation), Some(count)) if LISTS.contains(&operation) => {
                    let fits = (length - HEADER) / MIN_ENTRY;
                    let is_valid = usize::try_from(count).map_or(count == -1, |n| n <= MAX_NAMES.min(fits));
                    if is_valid { Ok(()) } else { Err(BadResponse::Count { count, length }) }
                }
                _ => Ok(()),
            }
        })
    }

    /// Returns true if part of a response has arrived and the rest has not.
    pub(super) fn is_inside_response(&self) -> bool {
        self.responses.is_inside_frame()
    }
}

#[cfg(test)]
#[path = "response_check_tests.rs"]
mod tests;
