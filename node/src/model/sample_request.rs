//! Request and answer of the collector for a batch of samples. See docs/protocol.md.

use serde::{Deserialize, Serialize};

use crate::model::sample::StoredSample;

#[derive(Serialize)]
pub(crate) struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fleet: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<&'a str>,
    pub(crate) node: &'a str,
    pub(crate) boot: &'a str,
    pub(crate) samples: &'a [StoredSample],
}

/// Answer of status 200.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    accepted: u64,
    repeated: u64,
    #[serde(default)]
    pub(crate) refused: Vec<Refused>,
    refused_count: Option<u64>,
}

/// A sample that the collector can never accept.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Refused {
    pub(crate) seq: i64,
    pub(crate) code: String,
    pub(crate) detail: String,
}

impl Answer {
    /// Parses an answer about `samples` samples. `None` if it is not one: the samples may not be stored.
    pub(crate) fn parse(body: &[u8], samples: usize) -> Option<Answer> {
        let answer: Answer = serde_json::from_slice(body).ok()?;
        let counts = [answer.accepted, answer.repeated, answer.refused_count()];
        let total = counts.into_iter().try_fold(0_u64, u64::checked_add)?;
        (usize::try_from(total) == Ok(samples)).then_some(answer)
    }

    pub(crate) fn refused_count(&self) -> u64 {
        self.refused_count.unwrap_or(self.refused.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::tests::sample;

    #[test]
    fn sample_has_the_json_that_collectors_understand() {
        let sample = sample(17, "outside", 1_795_993_511_000, 21.53);
        let body =
            Body { fleet: Some("home"), zone: Some("north"), node: "n1", boot: "3f0c", samples: &[sample] };
        let expected = r#"{"fleet":"home","zone":"north","node":"n1","boot":"3f0c","samples":[{"seq":17,"sensor":"outside","quantity":"temperature","unit":"Cel","value":21.53,"time_ms":1795993511000,"clock":"synchronised"}]}"#;
        assert_eq!(serde_json::to_string(&body).unwrap(), expected);
    }

    #[test]
    fn answer_must_account_for_each_sample() {
        let answer = br#"{"accepted":7,"repeated":1,"refused":[{"index":5,"seq":22,"code":"value","detail":"x"}],"refused_count":2}"#;
        let parsed = Answer::parse(answer, 10).unwrap();
        assert_eq!((parsed.refused_count(), parsed.refused[0].seq), (2, 22));
        assert!(Answer::parse(answer, 11).is_none());
        for other in [&b""[..], b"<html>", b"{}", b"[]", br#"{"accepted":10}"#] {
            assert!(Answer::parse(other, 10).is_none());
        }
        assert!(Answer::parse(br#"{"accepted":10,"repeated":0}"#, 10).is_some());
        let overflow = format!(r#"{{"accepted":{0},"repeated":{0}}}"#, u64::MAX);
        assert!(Answer::parse(overflow.as_bytes(), 10).is_none());
    }
}
