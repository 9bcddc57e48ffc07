//! Lock-step sampling: a node takes one sample per generation of the [barrier](Barrier). No I/O.

use crate::model::barrier::Barrier;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BarrierGate {
    has_sampled: bool,
    sampled_generation: Option<i64>,
    /// Transaction that published the newest sample.
    pub(crate) published_zxid: i64,
}

impl BarrierGate {
    /// Returns true if a sample is due: at start, and once per generation.
    pub(crate) fn should_sample(&self, barrier: Barrier) -> bool {
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

    #[test]
    fn late_sample_counts_for_the_generation_in_which_it_is_published() {
        let mut gate = BarrierGate::default();
        assert!(gate.on_sampled(Barrier::Closed(5)));
        gate.published_zxid = 12;
        assert!(!gate.should_sample(Barrier::Closed(9)));
        assert!(gate.should_sample(Barrier::Closed(15)));
    }

    #[test]
    fn sample_taken_at_a_release_is_not_published_in_the_generation_of_a_late_one() {
        let mut gate = BarrierGate::default();
        assert!(gate.on_sampled(Barrier::Closed(5)));
        // The barrier was closed again at 10, which this node does not know yet.
        gate.published_zxid = 12;
        assert!(gate.should_sample(Barrier::Released));
        assert!(!gate.on_sampled(Barrier::Closed(10)));
        assert!(!gate.should_sample(Barrier::Closed(10)));
        assert!(gate.should_sample(Barrier::Closed(20)));
        assert!(gate.on_sampled(Barrier::Closed(20)));
    }
}
