//! Reads many znodes with few requests, each of bounded size.

use std::collections::BTreeMap;
use std::ops::Range;

use atalaya_recipes::session::BulkRead;
use atalaya_recipes::{Connection, Error, Stat};
use futures_util::Stream;
use futures_util::stream::{self, StreamExt, TryStreamExt};

/// Maximum number of znodes in one request.
pub const MAX_BATCH: usize = 1024;
/// Maximum size of a response in bytes, as expected from the last read: it bounds the memory, whatever others store.
const MAX_RESPONSE: usize = 1024 * 1024;
/// Maximum size of the paths in one request, in bytes. ZooKeeper closes the connection at 1 MiB (`jute.maxbuffer`).
const MAX_REQUEST: usize = 512 * 1024;
/// Size of an operation of a `MultiRead` without its path, in bytes.
const OPERATION_SIZE: usize = 16;
/// Size of a result of a `MultiRead` without its data, in bytes.
const RESULT_SIZE: usize = 80;
/// Expected size of the data of a znode before the first read, and after a failed read, in bytes. At most 14 such znodes
/// are in a request. Their data, at most 1 MiB each, fits the maximum length of a response (`DEFAULT_MAX_RESPONSE` of the
/// session), so that no data that others store prevents a read.
pub(crate) const UNKNOWN_SIZE: usize = 72 * 1024;
/// Maximum number of requests at the same time: enough to keep the connection busy, few enough to bound the memory.
const CONCURRENT_REQUESTS: usize = 4;

/// Splits a sequence of znodes, each given as the length of its path and the expected size of its data, into requests
/// within all three bounds. A znode that exceeds a bound alone gets a request of its own.
pub(crate) fn plan(znodes: impl IntoIterator<Item = (usize, usize)>) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut end) = (0, 0);
    let (mut request, mut response) = (0, 0);
    for (path, data) in znodes {
        let (operation, result) = (path + OPERATION_SIZE, data + RESULT_SIZE);
        let is_full =
            end - start >= MAX_BATCH || request + operation > MAX_REQUEST || response + result > MAX_RESPONSE;
        if is_full && end > start {
            batches.push(start..end);
            (start, request, response) = (end, 0, 0);
        }
        request += operation;
        response += result;
        end += 1;
    }
    if end > start {
        batches.push(start..end);
    }
    batches
}

/// Reads the znodes of each batch in one request and yields the results of `parse`, batch by batch and in order.
/// Responses are parsed as they arrive, so that raw data does not accumulate.
pub(crate) fn read_batches<'a, P: AsRef<str> + 'a, T: 'a>(
    connection: &'a Connection,
    batches: Vec<Vec<P>>,
    parse: &'a (impl Fn(BulkRead) -> T + Sync),
) -> impl Stream<Item = Result<Vec<T>, Error>> + 'a {
    stream::iter(batches)
        .map(move |paths| async move {
            Ok(connection.get_many(&paths).await?.into_iter().map(parse).collect())
        })
        .buffered(CONCURRENT_REQUESTS)
}

/// Sizes of the children of one znode at the last read. With known sizes the next read takes fewer requests.
#[derive(Debug, Default)]
pub(crate) struct SizeCache(BTreeMap<String, usize>);

/// Reads all children of `parent`; see [`read_named_children`]. A missing `parent` counts as one without children.
pub(crate) async fn read_children<T>(
    connection: &Connection,
    parent: &str,
    sizes: &mut SizeCache,
    parse: impl Fn(&[u8], &Stat) -> T + Sync,
) -> Result<Vec<(String, Stat, T)>, Error> {
    let names = connection.children_or_empty(parent).await?;
    read_named_children(connection, parent, names, sizes, parse).await
}

/// Reads these children of `parent`. Returns name, stat and parsed data of those that exist, ordered by name.
pub(crate) async fn read_named_children<T>(
    connection: &Connection,
    parent: &str,
    names: Vec<String>,
    sizes: &mut SizeCache,
    parse: impl Fn(&[u8], &Stat) -> T + Sync,
) -> Result<Vec<(String, Stat, T)>, Error> {
    let size_of = |name: &String| sizes.0.get(name).copied().unwrap_or(UNKNOWN_SIZE);
    let expected: BTreeMap<String, usize> =
        names.into_iter().map(|name| (name.clone(), size_of(&name))).collect();
    let paths: Vec<String> = expected.keys().map(|name| format!("{parent}/{name}")).collect();
    let batches = plan(paths.iter().zip(expected.values()).map(|(path, size)| (path.len(), *size)));
    let mut paths = paths.into_iter();
    let batches = batches.into_iter().map(|range| paths.by_ref().take(range.len()).collect()).collect();
    let parse = |answer| match answer {
        BulkRead::Data(data, stat) => Some((data.len(), stat, parse(&data, &stat))),
        BulkRead::Missing(_) => None,
    };
    let found = read_batches(connection, batches, &parse).try_collect::<Vec<Vec<_>>>().await;
    // If the data has grown, the response may have been too long.
    let found = found.inspect_err(|_| sizes.0.clear())?;
    sizes.0 = expected;
    let known = sizes.0.iter_mut().zip(found.into_iter().flatten());
    let children = known.filter_map(|((name, size), found)| {
        let (new_size, stat, parsed) = found?;
        *size = new_size;
        Some((name.clone(), stat, parsed))
    });
    Ok(children.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plan_of_thousands_of_small_znodes_has_full_batches() {
        assert_eq!(plan((0..10_000).map(|_| (16, 4))).len(), 10);
        assert!(plan((0..10_000).map(|_| (16, UNKNOWN_SIZE))).len() > 100, "unknown sizes: small batches");
        assert_eq!(plan([]), []);
    }

    #[test]
    fn znodes_of_unknown_size_fit_a_response_even_if_each_has_the_maximum_size() {
        const MAX_ZNODE: usize = 1024 * 1024;
        for range in plan((0..1_000).map(|_| (16, UNKNOWN_SIZE))) {
            assert!(range.len() * (MAX_ZNODE + RESULT_SIZE) < atalaya_recipes::session::DEFAULT_MAX_RESPONSE);
        }
    }

    proptest! {
        #[test]
        fn plan_covers_all_znodes_in_order_within_bounds(znodes in prop::collection::vec((1usize..20_000, 0usize..2_000_000), 0..3000)) {
            let mut next = 0;
            for range in plan(znodes.iter().copied()) {
                prop_assert_eq!(range.start, next);
                prop_assert!(range.end > range.start);
                next = range.end;
                prop_assert!(range.len() <= MAX_BATCH);
                let request: usize = znodes[range.clone()].iter().map(|(path, _)| path + OPERATION_SIZE).sum();
                let response: usize = znodes[range.clone()].iter().map(|(_, size)| size + RESULT_SIZE).sum();
                prop_assert!(range.len() == 1 || (request <= MAX_REQUEST && response <= MAX_RESPONSE));
            }
            prop_assert_eq!(next, znodes.len());
        }
    }
}
