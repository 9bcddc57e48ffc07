use atalaya_testbed::Redis;

use super::super::suite::{at, keyed, store_suite};
use super::*;

/// As a store should find it.
const KEEPING: &str = "appendonly yes\nappendfsync always";

fn open(server: &Redis) -> RedisStore {
    RedisStore::open(RedisOptions::new(&server.url()).unwrap()).unwrap()
}

store_suite!(|_| {
    let server = Redis::with(KEEPING);
    (open(&server), server)
});
