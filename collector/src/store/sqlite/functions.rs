//! Functions for SQL: the moments of readings, see `moments.rs`, as values of 24 bytes. NULL: there are no readings.

use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::{Connection, Result};

use crate::moments::{Moments, merge};

/// Adds the functions to a connection:
///
/// * `moments_of(count, mean, stddev, aggregate)`: the moments of a report,
/// * `merge_moments(moments, moments)`: those of both,
/// * `all_moments(moments)`: those of all rows.
pub(super) fn register(connection: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("moments_of", 4, flags, |context| {
        let is_mean = context.get::<Option<String>>(3)?.is_none();
        let moments = Moments::new(context.get(0)?, context.get(1)?, context.get(2)?, is_mean);
        Ok(moments.map(Moments::to_bytes))
    })?;
    connection.create_scalar_function("merge_moments", 2, flags, |context| {
        Ok(merge(moments(context, 0)?, moments(context, 1)?).map(Moments::to_bytes))
    })?;
    connection.create_aggregate_function("all_moments", 1, flags, AllMoments)
}

/// Reads an argument.
fn moments(context: &Context<'_>, index: usize) -> Result<Option<Moments>> {
    Ok(context.get_raw(index).as_blob_or_null()?.and_then(Moments::from_bytes))
}

struct AllMoments;

impl Aggregate<Option<Moments>, Option<Vec<u8>>> for AllMoments {
    fn init(&self, _: &mut Context<'_>) -> Result<Option<Moments>> {
        Ok(None)
    }

    fn step(&self, context: &mut Context<'_>, all: &mut Option<Moments>) -> Result<()> {
        *all = merge(*all, moments(context, 0)?);
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, all: Option<Option<Moments>>) -> Result<Option<Vec<u8>>> {
        Ok(all.flatten().map(Moments::to_bytes))
    }
}
