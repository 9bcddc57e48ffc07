//! JSON of the records and messages of this crate.

use serde::Serialize;

/// Serialises a record or a message.
#[expect(clippy::expect_used, reason = "strings and numbers can always be serialised")]
pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("it can be serialised")
}
