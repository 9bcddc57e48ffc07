//! What the locks and the semaphore promise, on the server in memory, with a failure at each chosen moment.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "serves tests only")]

mod bed;

mod a_lock_is_held_by_one;
mod a_lost_hold_is_known_at_once;
mod a_semaphore_has_so_many_places;
mod bugs_of_others;
mod no_more_is_asked_than_needed;
mod nothing_is_left_in_line;
mod two_leaders;
