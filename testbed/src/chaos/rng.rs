//! Random numbers decided by a seed. Pure.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators): the same numbers for the same seed,
/// independent of library versions.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn of(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number from low to high, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub(super) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        let index = self.between(0, of.len() as u64 - 1);
        of[usize::try_from(index).unwrap_or(0)]
    }

    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.between(1, 100) <= chance
    }

    pub(super) fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    pub(super) fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).unwrap_or(0)
    }
}

/// Returns the seed of schedule `number` of a series.
pub fn seed_of(many: u64, number: u64) -> u64 {
    // Short enough to type.
    Rng::of(many.wrapping_add(number.wrapping_mul(0x5851_F42D_4C95_7F2D))).next() >> 24
}
