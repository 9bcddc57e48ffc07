"""Kazoo's documented recipes, one after the other, below a chroot: HOSTS. Prints a line for each, and "done"."""

import sys
import threading

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, InvalidACLError, NoAuthError, RolledBackError
from kazoo.recipe.cache import TreeCache, TreeEvent
from kazoo.security import CREATOR_ALL_ACL, make_digest_acl

HOSTS = sys.argv[1]
TIMEOUT = 20


def connect(**options):
    client = KazooClient(hosts=HOSTS, timeout=10, **options)
    client.start(timeout=TIMEOUT)
    return client


def passed(name):
    print("passed", name, flush=True)


a, b = connect(), connect()

assert a.server_version()[:2] == (3, 8), a.server_version()
assert a.command(b"ruok") == "imok"
passed("commands")

assert a.create("/n", b"1", include_data=True)[1].version == 0
assert a.set("/n", b"2").version == 1
assert a.create("/s/n-", b"", sequence=True, ephemeral=True, makepath=True) == "/s/n-0000000000"
assert a.get_children("/s", include_data=True)[1].numChildren == 1
a.sync("/n")
a.delete("/s", recursive=True)
passed("basics")

with a.Lock("/lock", "a"):
    assert not b.Lock("/lock", "b").acquire(blocking=False)
    assert b.Lock("/lock", "b").contenders() == ["a"]
waiting = b.Lock("/lock", "b")
assert waiting.acquire(timeout=TIMEOUT)
third = a.Lock("/lock", "c")
thread = threading.Thread(target=third.acquire)
thread.start()
waiting.release()
thread.join(TIMEOUT)
assert third.is_acquired
third.cancel()
third.release()
passed("Lock")

readers = [a.ReadLock("/rw"), b.ReadLock("/rw")]
for reader in readers:
    assert reader.acquire(timeout=TIMEOUT)
assert not a.WriteLock("/rw").acquire(blocking=False)
for reader in readers:
    reader.release()
with a.WriteLock("/rw"):
    assert not b.ReadLock("/rw").acquire(blocking=False)
passed("ReadLock, WriteLock")

semaphores = [client.Semaphore("/semaphore", max_leases=2) for client in (a, b, a)]
assert semaphores[0].acquire() and semaphores[1].acquire()
assert not semaphores[2].acquire(blocking=False)
semaphores[0].release()
assert semaphores[2].acquire(timeout=TIMEOUT)
passed("Semaphore")

counters = [a.Counter("/counter"), b.Counter("/counter")]
for _ in range(5):
    for counter in counters:
        counter += 1
assert counters[0].value == 10
passed("Counter")

barrier = a.Barrier("/barrier")
barrier.create()
assert not b.Barrier("/barrier").wait(0.05)
threading.Timer(0.05, barrier.remove).start()
assert b.Barrier("/barrier").wait(TIMEOUT)
passed("Barrier")

both = [client.DoubleBarrier("/double", 2) for client in (a, b)]
for step in ("enter", "leave"):
    threads = [threading.Thread(target=getattr(one, step)) for one in both]
    [thread.start() for thread in threads]
    [thread.join(TIMEOUT) for thread in threads]
    assert not any(thread.is_alive() for thread in threads)
passed("DoubleBarrier")

queue = a.Queue("/queue")
queue.put(b"later", priority=200)
queue.put(b"first")
assert len(b.Queue("/queue")) == 2
assert b.Queue("/queue").get() == b"first" and queue.get() == b"later" and queue.get() is None
locking = a.LockingQueue("/locking")
locking.put_all([b"1", b"2"])
assert locking.get(timeout=TIMEOUT) == b"1"
assert b.LockingQueue("/locking").get(timeout=TIMEOUT) == b"2"
assert locking.consume()
passed("Queue, LockingQueue")

parties = [a.Party("/party", "a"), b.Party("/party", "b")]
[party.join() for party in parties]
assert set(parties[0]) == {"a", "b"} and len(parties[1]) == 2
parties[0].leave()
assert set(parties[1]) == {"b"}
shallow = a.ShallowParty("/shallow", "a")
shallow.join()
assert set(b.ShallowParty("/shallow")) == {"a"}
passed("Party, ShallowParty")

led = []
a.Election("/election", "a").run(led.append, "a")
b.Election("/election", "b").run(led.append, "b")
assert led == ["a", "b"]
passed("Election")

lease = a.NonBlockingLease("/lease", __import__("datetime").timedelta(seconds=60), "a")
assert lease and not b.NonBlockingLease("/lease", __import__("datetime").timedelta(seconds=60), "b")
passed("NonBlockingLease")

seen = {"data": [], "children": []}
arrived = threading.Condition()


def notice(kind, value):
    with arrived:
        seen[kind].append(value)
        arrived.notify_all()


def wait_for(kind, value):
    with arrived:
        assert arrived.wait_for(lambda: seen[kind] and seen[kind][-1] == value, TIMEOUT), (kind, seen[kind])


a.DataWatch("/watched", lambda data, stat: notice("data", data))
wait_for("data", None)
b.create("/watched", b"1")
wait_for("data", b"1")
b.set("/watched", b"2")
wait_for("data", b"2")
a.ChildrenWatch("/watched", lambda children: notice("children", sorted(children)))
wait_for("children", [])
b.create("/watched/x", b"")
wait_for("children", ["x"])
b.delete("/watched", recursive=True)
wait_for("data", None)
passed("DataWatch, ChildrenWatch")

partitioner = a.SetPartitioner("/parts", set=(1, 2, 3, 4), time_boundary=0.05)
partitioner.wait_for_acquire(TIMEOUT)
assert partitioner.acquired and set(partitioner) == {1, 2, 3, 4}
partitioner.finish()
passed("SetPartitioner")

cache = TreeCache(a, "/tree")
ready = threading.Event()
cache.listen(lambda event: ready.set() if event.event_type == TreeEvent.INITIALIZED else None)
b.create("/tree/deep/er", b"x", makepath=True)
cache.start()
assert ready.wait(TIMEOUT)
assert cache.get_data("/tree/deep/er").data == b"x"
cache.close()
passed("TreeCache")

transaction = a.transaction()
transaction.check("/n", 1)
transaction.create("/t", b"")
transaction.set_data("/n", b"3")
transaction.delete("/t")
results = transaction.commit()
assert results[:2] == [True, "/t"] and results[2].version == 2 and results[3] is True, results
transaction = a.transaction()
transaction.create("/t", b"")
transaction.check("/n", 1)
transaction.delete("/n")
results = transaction.commit()
assert isinstance(results[0], RolledBackError) and isinstance(results[1], BadVersionError), results
assert a.exists("/t") is None
passed("transaction")

bob = connect(auth_data=[("digest", "bob:secret")])
bob.create("/bobs", b"", acl=[make_digest_acl("bob", "secret", all=True)])
try:
    a.get("/bobs")
    raise AssertionError("bob's znode is open")
except NoAuthError:
    pass
a.add_auth("digest", "bob:secret")
assert a.get("/bobs")[0] == b""
assert bob.get_acls("/bobs")[0][0].id.id.startswith("bob:")
# Kazoo writes the empty id of the scheme auth as null.
bob.create("/creators", b"secret", acl=CREATOR_ALL_ACL)
acls, stat = bob.get_acls("/creators")
assert [(acl.perms, acl.id.scheme, acl.id.id.split(":")[0]) for acl in acls] == [(31, "digest", "bob")], acls
assert stat.aversion == 0
stranger = connect(auth_data=[("digest", "ann:secret")])
for refused in (
    lambda: stranger.get("/creators"),
    lambda: stranger.set("/creators", b""),
    lambda: stranger.create("/creators/child"),
    lambda: stranger.get_children("/creators"),
    lambda: stranger.set_acls("/creators", CREATOR_ALL_ACL),
    lambda: stranger.get_acls("/creators"),
):
    try:
        refused()
        raise AssertionError("bob's znode is open")
    except NoAuthError:
        pass
assert bob.set_acls("/creators", CREATOR_ALL_ACL).aversion == 1
transaction = bob.transaction()
transaction.create("/creators/child", b"", acl=CREATOR_ALL_ACL)
assert transaction.commit() == ["/creators/child"]
try:
    connect().create("/nobodys", acl=CREATOR_ALL_ACL)
    raise AssertionError("a client without an identity has created for itself")
except InvalidACLError:
    pass
passed("ACL")

b.create("/mine", b"", ephemeral=True)
gone = threading.Event()
a.exists("/mine", watch=lambda event: gone.set())
b.stop()
b.close()
assert gone.wait(TIMEOUT)
passed("close")
a.stop()
a.close()
print("done", flush=True)
