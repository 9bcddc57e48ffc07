//! Lock-step sampling: a node takes one sample per generation of the [barrier](Barrier). No I/O.

use atalaya_recipes::persistent_node::NodeState;
use tracing::debug;

use crate::model::barrier::{Barrier, LOG_TARGET};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BarrierGate {
    has_sampled: bool,
    sampled_generation: Option<i64>,
    /// While a measurement is being published: the number of measurements that were stored before it.
    pub(crate) stored_before: Option<u64>,
    /// Transaction that published the newest sample.
    published_zxid: i64,
}

impl BarrierGate {
    /// Returns true if a sample is due: at start, and once per generation, after the last one has been published.
    pub(crate) fn should_sample(&self, barrier: Barrier) -> bool {
        if self.stored_before.is_some() {
            return false;
        }
        match barrier {
            // A sample that was published too late, inside a later generation, counts for that generation.
            Barrier::Closed(generation) => {
                self.sampled_generation != Some(generation) && self.published_zxid < generation
            }
            // The next generation is certainly a new one, so sampling can start before it is known.
            Barrier::Released => true,
            // The leader waits only for nodes that have published, so every node publishes one sample at start.
            Barrier::Unknown | Barrier::Open => !self.has_sampled,
        }
    }

    /// Records that a measurement was published, if it is the one that is being published.
    pub(crate) fn on_stored(&mut self, state: NodeState) {
        if self.stored_before.is_some_and(|before| state.stored > before) {
            debug!(target: LOG_TARGET, zxid = state.zxid, "published");
            self.published_zxid = state.zxid;
            self.stored_before = None;
        }
    }

    /// Records that a sample was taken for the state `barrier`, even if it has no reading to publish. Returns false if
    /// it must not be published: a sample that was started by the release of the barrier can turn out to be the second
    /// one of its generation, because the sample before it was published late.
    #[must_use]
    pub(crate) fn on_sampled(&mut self, barrier: Barrier) -> bool {
        self.has_sampled = true;
        let Barrier::Closed(generation) = barrier else { return true };
        self.sampled_generation = Some(generation);
        self.published_zxid < generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gate_opens_once_at_start_and_once_per_generation() {
        let mut gate = BarrierGate::default();
        let mut samples = |barrier| {
            let due = gate.should_sample(barrier);
            due && gate.on_sampled(barrier)
        };
        let states = [
            (Barrier::Unknown, true),
            (Barrier::Open, false),
            (Barrier::Closed(5), true),
            (Barrier::Closed(5), false),
            (Barrier::Open, false),
            (Barrier::Closed(9), true),
            // Generations between 9 and 30 were missed without a connection.
            (Barrier::Closed(30), true),
            (Barrier::Closed(30), false),
        ];
        for (barrier, expected) in states {
            assert_eq!(samples(barrier), expected, "{barrier:?}");
        }
    }

    #[test]
    fn sample_taken_at_a_release_counts_for_the_next_generation() {
        let mut gate = BarrierGate::default();
        assert!(gate.on_sampled(Barrier::Closed(5)));
        assert!(gate.should_sample(Barrier::Released));
        assert!(gate.on_sampled(Barrier::Closed(10)));
        assert!(!gate.should_sample(Barrier::Closed(10)));
        assert!(gate.should_sample(Barrier::Closed(20)));
    }

    /// Publishes a measurement in this transaction.
    fn publish(gate: &mut BarrierGate, zxid: i64) {
        gate.stored_before = Some(0);
        gate.on_stored(NodeState { stored: 1, zxid, ..NodeState::default() });
    }

    #[test]
    fn no_sample_is_due_while_the_last_one_is_being_published() {
        let mut gate = BarrierGate::default();
        assert!(gate.on_sampled(Barrier::Closed(5)));
        gate.stored_before = Some(3);
        for barrier in [Barrier::Closed(9), Barrier::Released, Barrier::Open] {
            assert!(!gate.should_sample(barrier));
        }
        // An earlier measurement.
        gate.on_stored(NodeState { stored: 3, zxid: 4, ..NodeState::default() });
        assert!(!gate.should_sample(Barrier::Closed(9)));
        gate.on_stored(NodeState { stored: 4, zxid: 7, ..NodeState::default() });
        assert!(gate.should_sample(Barrier::Closed(9)));
    }

    #[test]
    fn late_sample_counts_for_the_generation_in_which_it_is_published() {
        let mut gate = BarrierGate::default();
        assert!(gate.on_sampled(Barrier::Closed(5)));
        publish(&mut gate, 12);
        assert!(!gate.should_sample(Barrier::Closed(9)));
        assert!(gate.should_sample(Barrier::Closed(15)));
    }

    #[test]
    fn sample_taken_at_a_release_is_not_published_in_the_generation_of_a_late_one() {
        let mut gate = BarrierGate::default();
        assert!(gate.on_sampled(Barrier::Closed(5)));
        // The barrier was closed again at 10, which this node does not know yet.
        publish(&mut gate, 12);
        assert!(gate.should_sample(Barrier::Released));
        assert!(!gate.on_sampled(Barrier::Closed(10)));
        assert!(!gate.should_sample(Barrier::Closed(10)));
        assert!(gate.should_sample(Barrier::Closed(20)));
        assert!(gate.on_sampled(Barrier::Closed(20)));
    }
}
