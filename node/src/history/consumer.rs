//! A consumer of samples, as the keeper sees it. Its position in the file is that of [`super::cursors`].

use std::collections::VecDeque;

use super::buffer::position_after;
use super::ring::Dropped;
use crate::model::sample::StoredSample;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BatchEnd {
    /// The consumer has the samples, except these, which it can never accept: sequence number and reason.
    Delivered(Vec<(i64, String)>),
    /// They must be sent again.
    Kept,
}

/// Samples that are being sent to a consumer.
#[derive(Clone, Copy, Debug)]
pub(super) enum InFlight {
    /// Those of the file before the id `end`, of which the bounds have `dropped` some since.
    File { end: i64, dropped: Dropped },
    /// Those of the buffer up to this sequence number.
    Buffer(i64),
}

#[derive(Debug, Default)]
pub(super) struct Consumer {
    /// Sequence number of the last sample of this run that the consumer has, that the file has, or that was dropped.
    pub(super) seq: i64,
    pub(super) in_flight: Option<InFlight>,
}

impl Consumer {
    /// Records that `oldest` is the first sample of the buffer. Returns the number of samples before it that the
    /// consumer did not have.
    pub(super) fn on_buffer_dropped(&mut self, oldest: i64) -> u64 {
        let dropped = u64::try_from(oldest - 1 - self.seq).unwrap_or(0);
        self.seq = self.seq.max(oldest - 1);
        dropped
    }

    /// Returns the number of dropped samples that are not counted yet.
    #[cfg(test)]
    pub(super) fn dropped_in_flight(&self) -> u64 {
        match self.in_flight {
            Some(InFlight::File { dropped, .. }) => dropped.by_age + dropped.by_size,
            _ => 0,
        }
    }

    /// Records that the `samples` of the buffer are in the file, from the id `begin` on, where the consumer was at
    /// `position`, and that the bounds have dropped samples from there on. Returns the number of those to count now. Those
    /// that are being sent are counted when it is known that they were not delivered.
    pub(super) fn on_appended(
        &mut self,
        samples: &VecDeque<StoredSample>,
        (begin, position): (i64, i64),
        mut now: Dropped,
    ) -> Dropped {
        self.seq = samples.back().map_or(self.seq, |sample| sample.seq);
        match self.in_flight {
            Some(InFlight::Buffer(seq)) if position >= begin => {
                let end = begin.saturating_add_unsigned(position_after(samples, seq) as u64);
                self.in_flight = Some(InFlight::File { end, dropped: Dropped::default() });
            }
            _ => {}
        }
        if let Some(InFlight::File { end, dropped: later }) = &mut self.in_flight {
            let mut sent = u64::try_from(*end - position).unwrap_or(0);
            for (now, later) in [(&mut now.by_age, &mut later.by_age), (&mut now.by_size, &mut later.by_size)]
            {
                let both = sent.min(*now);
                (*now, *later, sent) = (*now - both, *later + both, sent - both);
            }
        }
        now
    }
}
