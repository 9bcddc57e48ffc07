"""Kazoo's part of `cargo xtask bench recipes`: HOSTS, then one command per line of standard input. Commands and answers are
those of Atalaya's part, documented at the top of `recipes/benches/recipes/main.rs`; the commands that Atalaya's part executes
for both (`set`, `close`, `open`) are missing here.

Unmodified recipes; each client has its own session and a thread that waits. Prints {"kazoo": VERSION,
"python": VERSION} when it is connected, then one line of JSON for each input line; for `await` two.
"""

import json
import platform
import sys
import threading
import time

import kazoo.version
from kazoo.client import KazooClient
from kazoo.retry import RetryFailedError

now = time.monotonic_ns


def say(answer):
    print(json.dumps(answer, separators=(",", ":")), flush=True)


class Several(list):
    """Threads that run one function with one argument each; `all` waits for them and returns their results."""

    def __init__(self, function, arguments):
        super().__init__()
        self.results = [None] * len(arguments)

        def run(number, argument):
            self.results[number] = function(argument)

        for number, argument in enumerate(arguments):
            self.append(threading.Thread(target=run, args=(number, argument)))
            self[-1].start()

    def all(self):
        for thread in self:
            thread.join()
        if None in self.results:
            raise RuntimeError("a thread has failed, see above")
        return self.results


class Side:
    def __init__(self, hosts):
        self.hosts = hosts
        self.clients = []
        self.newest = []
        self.news = threading.Condition()
        self.kept = {}
        self.sessions(1)

    def sessions(self, count):
        while len(self.clients) < count:
            client = KazooClient(hosts=self.hosts, timeout=40)
            client.start(timeout=60)
            self.clients.append(client)
        return self.clients[:count]

    def contend(self, path, count, ms):
        clients = self.sessions(int(count))
        end = now() + int(ms) * 1_000_000

        def contender(client):
            lock = client.Lock(path, "bench")
            held = []
            while now() < end:
                lock.acquire()
                held.append(now())
                held.append(now())
                lock.release()
            return held

        return {"held": Several(contender, clients).all()}

    def line(self, path, count):
        first, *others = [client.Lock(path, "bench") for client in self.sessions(int(count))]
        first.acquire()
        self.holder, self.queued = first, []
        witness = self.clients[0]
        for lock in others:
            self.queued.append((lock, Several(lambda lock: lock.acquire(), [lock])))
            while True:
                changed = threading.Event()
                if len(witness.get_children(path, watch=lambda _: changed.set())) > len(self.queued):
                    break
                changed.wait()
        return {"standing": len(self.queued) + 1}

    def pass_(self):
        for lock, acquiring in self.queued:
            self.holder.release()
            acquiring.all()
            self.holder = lock
        return {"passed": len(self.queued)}

    def add(self, path, _kind, count, ms):
        counters = [client.Counter(path) for client in self.sessions(int(count))]
        # Several processes do this at once, and Kazoo gives up after losing the race too often.
        for counter in counters:
            while True:
                try:
                    counter += 1
                    break
                except RetryFailedError:
                    continue
        begin = now()
        end = begin + int(ms) * 1_000_000

        def writer(counter):
            added = failed = 0
            while now() < end:
                try:
                    counter += 1
                    added += 1
                except RetryFailedError:
                    failed += 1
            return added, failed, now()

        done = Several(writer, counters).all()
        added = sum(added for added, _, _ in done)
        return {
            "begin": begin,
            "end": max(until for _, _, until in done),
            "added": added,
            "all": added + len(counters),
            "failed": sum(failed for _, failed, _ in done),
        }

    def value(self, path):
        return {"value": self.clients[0].Counter(path).value}

    def queue(self, kind, path, batch, times):
        queue = self.queue_of(kind, path)
        queue.put(b"first")
        self.take(kind, queue)
        answer = {"put": [], "take": []}
        for _ in range(int(times)):
            start = now()
            for number in range(int(batch)):
                queue.put(str(number).encode())
            between = now()
            for number in range(int(batch)):
                if self.take(kind, queue) != str(number).encode():
                    raise RuntimeError(f"entry {number} is another one")
            answer["put"].append(between - start)
            answer["take"].append(now() - between)
        return answer

    def queue_of(self, kind, path):
        client = self.clients[0]
        return client.Queue(path) if kind == "plain" else client.LockingQueue(path)

    @staticmethod
    def take(kind, queue):
        value = queue.get()
        if kind == "locking" and not queue.consume():
            raise RuntimeError("an entry was lost")
        return value

    def await_(self, path, count):
        def waiter(barrier):
            barrier.wait()
            return now()

        several = Several(waiter, [client.Barrier(path) for client in self.sessions(int(count))])
        say({"waiting": int(count)})
        return {"passed": several.all()}

    def watch(self, path, count):
        self.newest = [(None, 0)] * int(count)

        def watch(number, client):
            newest = self.newest

            def seen(value, _):
                at = now()
                with self.news:
                    newest[number] = (value, at)
                    self.news.notify_all()
                # Returning False ends the watch.
                return newest is self.newest

            client.DataWatch(path, seen)

        for number, client in enumerate(self.sessions(int(count))):
            watch(number, client)
        return {"watching": int(count)}

    def seen(self, value):
        with self.news:
            self.news.wait_for(lambda: all(newest == value.encode() for newest, _ in self.newest))
            return {"seen": [at for _, at in self.newest]}

    def unwatch(self):
        self.newest = []
        return {"watching": 0}

    def times(self, what, path, count):
        if not self.kept:
            client = self.clients[0]
            lock, semaphore = client.Lock(f"{path}/lock", "bench"), client.Semaphore(f"{path}/semaphore", "bench", 3)
            counter, barrier = client.Counter(f"{path}/counter"), client.Barrier(f"{path}/barrier")
            plain = self.queue_of("plain", f"{path}/plain")
            locking = self.queue_of("locking", f"{path}/locking")
            self.kept = {
                "lock": lambda: (lock.acquire(), lock.release()),
                "semaphore": lambda: (semaphore.acquire(), semaphore.release()),
                "kazoo": lambda: counter.__add__(1),
                "plain-put": lambda: plain.put(b"entry"),
                "plain-take": lambda: self.take("plain", plain),
                "locking-put": lambda: locking.put(b"entry"),
                "locking-take": lambda: self.take("locking", locking),
                "open-barrier": barrier.wait,
            }
        for _ in range(int(count)):
            self.kept[what]()
        return {"times": int(count)}


def main():
    side = Side(sys.argv[1])
    # Reserved words of Python.
    others = {
        "await": side.await_,
        "pass": side.pass_,
        "sessions": lambda count: {"sessions": len(side.sessions(int(count)))},
    }
    say({"kazoo": kazoo.version.__version__, "python": platform.python_version()})
    for line in sys.stdin:
        command, *words = line.split()
        say((others.get(command) or getattr(side, command))(*words))
    for client in side.clients:
        client.stop()
        client.close()


main()
