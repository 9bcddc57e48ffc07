"""A master, a worker or a client of the classic task layout, in the style of course programs.

  classic.py master HOSTS [--root PATH]
  classic.py worker HOSTS ID [--root PATH] [--free TEXT] [--execution-log FOLDER]
  classic.py client HOSTS ID SECONDS [--root PATH] [--unassigned TEXT]

TEXT is the data of a free worker (by default non) or of a task that is not assigned (by default 0). In FOLDER a worker
writes "start TASK" and "end TASK" into the file executions, and "overlap TASK" if another process holds the file lock.TASK.

Prints: "contending NUMBER", "leading NUMBER", "assigned TASK to WORKER"; "registered ID", "executing TASK", "finished TASK",
"dropped TASK"; "submitted TASK", "result DATA". Kazoo is used unmodified, and the program has typical weaknesses: watches call
the assignment and the execution directly, assignments are two writes without versions, and a lost session is not noticed.
"""

import argparse
import fcntl
import os
import signal
import sys
import threading
import time

import secured
from kazoo.exceptions import NoNodeError

stopped = threading.Event()


def say(*words):
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


def text(data):
    return "" if data is None else data.decode("utf-8")


class Master:
    def __init__(self, client, root):
        self.client = client
        self.root = root
        self.lock = threading.RLock()
        self.leads = False
        for parent in ["master", "workers", "tasks", "data"]:
            client.ensure_path(f"{root}/{parent}")
        path = client.create(f"{root}/master/", b"master", ephemeral=True, sequence=True)
        self.number = path.rsplit("/", 1)[1]
        say("contending", self.number)
        client.ChildrenWatch(f"{root}/master", self.elect)

    def elect(self, children):
        numbers = sorted(child for child in children if child != "master_current")
        if self.leads or not numbers or numbers[0] != self.number:
            return
        self.leads = True
        self.client.ensure_path(f"{self.root}/master/master_current")
        self.client.create(f"{self.root}/master/master_current/{self.number}", b"", ephemeral=True)
        say("leading", self.number)
        self.client.ChildrenWatch(f"{self.root}/tasks", self.watch("tasks"))
        self.client.ChildrenWatch(f"{self.root}/workers", self.watch("workers"))

    def watch(self, parent):
        seen = set()

        def changed(children):
            for child in set(children) - seen:
                # The watch ends when its znode is deleted.
                self.client.DataWatch(f"{self.root}/{parent}/{child}", lambda data, stat: self.assign())
            seen.clear()
            seen.update(children)
            self.assign()

        return changed

    def assign(self):
        with self.lock:
            workers = {worker: self.read(f"workers/{worker}") for worker in self.list("workers")}
            for task in self.list("tasks"):
                data = self.read(f"tasks/{task}")
                if data is None or "=" in data:
                    continue
                # Not assigned, or, according to the data, assigned to a worker that has ended.
                if "," in data and any(worker in data.split(",") for worker in workers):
                    continue
                free = [worker for worker, state in workers.items() if state in ["non", "idle", ""]]
                if not free:
                    return
                try:
                    self.client.set(f"{self.root}/workers/{free[0]}", task.encode())
                    self.client.set(f"{self.root}/tasks/{task}", f"assigned,{free[0]}".encode())
                except NoNodeError:
                    continue
                workers[free[0]] = task
                say("assigned", task, "to", free[0])

    def list(self, parent):
        return self.client.get_children(f"{self.root}/{parent}")

    def read(self, path):
        try:
            return text(self.client.get(f"{self.root}/{path}")[0])
        except NoNodeError:
            return None


def execute(seconds, task, folder):
    if folder is None:
        time.sleep(seconds)
        return

    def write(what):
        with open(os.path.join(folder, "executions"), "a", encoding="utf-8") as file:
            file.write(f"{what} {task}\n")

    with open(os.path.join(folder, f"lock.{task}"), "a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            write("overlap")
        write("start")
        time.sleep(seconds)
        write("end")


def work(client, root, worker, free, folder_of_log):
    client.ensure_path(f"{root}/workers")
    own = f"{root}/workers/{worker}"
    client.create(own, free.encode(), ephemeral=True)
    say("registered", worker)

    def assigned(data, stat):
        task = text(data)
        if stat is None or task == free:
            return
        say("executing", task)
        try:
            seconds = float(text(client.get(f"{root}/data/{task}")[0]))
            execute(seconds, task, folder_of_log)
            client.set(f"{root}/tasks/{task}", f"{task}={seconds}".encode())
            say("finished", task)
        except NoNodeError:
            say("dropped", task)
        client.set(own, free.encode())

    client.DataWatch(own, assigned)


def submit(client, root, task, seconds, unassigned):
    client.ensure_path(f"{root}/data")
    client.ensure_path(f"{root}/tasks")
    client.create(f"{root}/data/{task}", seconds.encode(), ephemeral=True)
    client.create(f"{root}/tasks/{task}", unassigned.encode(), ephemeral=True)
    say("submitted", task)

    def changed(data, stat):
        if stat is None or "=" not in text(data):
            return True
        say("result", text(data))
        client.delete(f"{root}/tasks/{task}")
        client.delete(f"{root}/data/{task}")
        stopped.set()
        return False

    client.DataWatch(f"{root}/tasks/{task}", changed)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["master", "worker", "client"])
    parser.add_argument("hosts")
    parser.add_argument("id", nargs="?")
    parser.add_argument("seconds", nargs="?")
    parser.add_argument("--root", default="")
    parser.add_argument("--free", default="non")
    parser.add_argument("--unassigned", default="0")
    parser.add_argument("--execution-log")
    parser.add_argument("--timeout", type=float, default=5)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())

    client = secured.client(arguments.hosts, timeout=arguments.timeout)
    client.start(timeout=60)
    try:
        if arguments.role == "master":
            Master(client, arguments.root)
        elif arguments.role == "worker":
            work(client, arguments.root, arguments.id, arguments.free, arguments.execution_log)
        else:
            submit(client, arguments.root, arguments.id, arguments.seconds, arguments.unassigned)
        stopped.wait()
    finally:
        client.stop()
        client.close()


main()
