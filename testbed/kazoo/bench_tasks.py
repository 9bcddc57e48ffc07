"""Submits tasks as fast as their results arrive, for cargo xtask bench tasks.

  bench_tasks.py native HOSTS SECONDS WINDOW
  bench_tasks.py classic HOSTS SECONDS WINDOW
  bench_tasks.py broadcast HOSTS
  bench_tasks.py count HOSTS TASKS WINDOW
  bench_tasks.py celery URL SECONDS WINDOW

At most WINDOW tasks are in flight at a time. Prints one line of JSON: the number of results within SECONDS after a
second of the same load, the median time from submission to result in milliseconds, and the number of lost tasks; of a
broadcast or of a number of native tasks, the time until all have ended.
"""

import json
import queue
import statistics
import sys
import time
import uuid

WARM_UP = 1.0
# Time without a result after which a task counts as lost, in seconds. The others take a few tenths of a second.
LOST_AFTER = 3.0
ROOT = "/atalaya/tasks"


def spec(to):
    value = {"id": uuid.uuid4().hex, "action": "status", "to": to, "by": "bench"}
    return json.dumps(value).encode()


class Native:
    """Native tasks: the leader deletes the specification in the transaction that records the result."""

    def __init__(self, hosts):
        self.client = connect(hosts)
        self.client.ensure_path(f"{ROOT}/spec")
        self.ended = queue.SimpleQueue()

    def submit(self, number, to="any"):
        def created(result):
            path = result.get()
            gone = self.client.exists_async(path, watch=lambda event: self.read(path, number))
            gone.rawlink(lambda found: self.read(path, number) if found.get() is None else None)

        self.client.create_async(f"{ROOT}/spec/t-", spec(to), sequence=True).rawlink(created)

    def read(self, path, number):
        record = self.client.get_async(path.replace("/spec/", "/state/"))
        record.rawlink(lambda result: self.ended.put((number, json.loads(result.get()[0])["state"])))

    def results(self):
        results = [self.ended.get(timeout=60)]
        while not self.ended.empty():
            results.append(self.ended.get())
        assert all(state == "done" for _, state in results), results
        return [number for number, _ in results]


class Classic:
    def __init__(self, hosts):
        self.client = connect(hosts)
        self.client.ensure_path("/data")
        self.client.ensure_path("/tasks")
        self.ended = queue.SimpleQueue()

    def submit(self, number):
        name = uuid.uuid4().hex
        self.client.create_async(f"/data/{name}", b"0", ephemeral=True)
        created = self.client.create_async(f"/tasks/{name}", b"0", ephemeral=True)
        created.rawlink(lambda _: self.look(name, number))

    def look(self, name, number):
        def found(result):
            if b"=" in result.get()[0]:
                self.client.delete_async(f"/tasks/{name}")
                self.client.delete_async(f"/data/{name}")
                self.ended.put(number)

        # The watch fires once for each change. Before the result, the only change is the assignment.
        read = self.client.get_async(f"/tasks/{name}", watch=lambda event: self.changed(event, name, number))
        read.rawlink(found)

    def changed(self, event, name, number):
        if event.type == "CHANGED":
            self.look(name, number)

    def results(self):
        try:
            results = [self.ended.get(timeout=1)]
        except queue.Empty:
            # The Python programs lose a task now and then, which is counted at the end.
            return []
        while not self.ended.empty():
            results.append(self.ended.get())
        return results


class Celery:
    def __init__(self, url):
        import celery_status

        self.task = celery_status.status
        self.backend = celery_status.app.backend
        self.open = {}

    def submit(self, number):
        self.open[self.backend.get_key_for_task(self.task.delay().id)] = number

    def results(self):
        while True:
            keys = list(self.open)
            found = [key for key, value in zip(keys, self.backend.mget(keys)) if value is not None]
            if found:
                self.backend.client.delete(*found)
                return [self.open.pop(key) for key in found]
            time.sleep(0.0005)


def connect(hosts):
    from kazoo.client import KazooClient

    client = KazooClient(hosts=hosts, timeout=30)
    client.start(timeout=60)
    return client


def load(system, seconds, window):
    begin = time.monotonic()
    submitted, times, count = {}, [], 0

    def submit():
        nonlocal count
        count += 1
        submitted[count] = time.monotonic()
        system.submit(count)

    for _ in range(window):
        submit()
    while True:
        results = set(system.results())
        now = time.monotonic()
        if now - begin >= WARM_UP + seconds:
            break
        for number in results:
            sent = submitted.pop(number, None)
            if sent is not None:
                if now - begin >= WARM_UP:
                    times.append((now - sent) * 1000)
                submit()
    median = statistics.median(times) if times else None
    lost = sum(now - sent > LOST_AFTER for sent in submitted.values())
    print(json.dumps({"results": len(times), "median": median, "lost": lost}))


def main():
    what, where = sys.argv[1:3]
    if what == "broadcast":
        system = Native(where)
        begin = time.monotonic()
        system.submit(1, "all")
        system.results()
        print(json.dumps({"seconds": time.monotonic() - begin}))
        return
    if what == "count":
        system = Native(where)
        tasks, window = int(sys.argv[3]), int(sys.argv[4])
        begin = time.monotonic()
        submitted = ended = 0
        while ended < tasks:
            while submitted < min(tasks, ended + window):
                submitted += 1
                system.submit(submitted)
            ended += len(system.results())
        print(json.dumps({"seconds": time.monotonic() - begin}))
        return
    system = {"native": Native, "classic": Classic, "celery": Celery}[what](where)
    load(system, float(sys.argv[3]), int(sys.argv[4]))


main()
