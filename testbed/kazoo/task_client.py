"""Submits a native task and waits for its final state, with two znodes and JSON, as any program can.

  task_client.py HOSTS ACTION SECONDS PROMISE [--timeout SECONDS]

Prints "submitted TASK" and "result STATE". Exits with 0 in any final state. It survives a lost connection or session: it
searches for the task by its random id, and submits it again only if it does not exist.
"""

import argparse
import json
import sys
import time
import uuid

import secured
from kazoo.exceptions import ConnectionClosedError, ConnectionLoss, NoNodeError, OperationTimeoutError
from kazoo.exceptions import SessionExpiredError
from kazoo.handlers.threading import KazooTimeoutError

LOST = (ConnectionLoss, ConnectionClosedError, OperationTimeoutError, SessionExpiredError)
ROOT = "/atalaya/tasks"
LIVE = ["queued", "waiting", "assigned"]


def say(*words):
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


def again(what):
    while True:
        try:
            return what()
        except LOST:
            time.sleep(0.1)


def connect(hosts, timeout):
    deadline = time.monotonic() + 60
    while True:
        client = secured.client(hosts, timeout=timeout)
        try:
            client.start(timeout=60)
            return client
        except LOST:
            # After it has connected, Kazoo looks for the chroot once. The client is started, and connects again by itself.
            return client
        except KazooTimeoutError:
            # Kazoo also gives up at once if it loses its first connection.
            if time.monotonic() > deadline:
                raise


def read(client, path):
    try:
        return json.loads(client.get(path)[0].decode("utf-8"))
    except NoNodeError:
        return None


def find(client, own):
    # In this order: a task that becomes final is written to the second list before it leaves the first one.
    for parent in ["spec", "state"]:
        for task in client.get_children(f"{ROOT}/{parent}"):
            found = read(client, f"{ROOT}/{parent}/{task}")
            spec = found if parent == "spec" or found is None else found.get("spec")
            if spec is not None and spec.get("id") == own:
                return task
    return None


def submit(client, spec):
    data = json.dumps(spec).encode()
    while True:
        try:
            return client.create(f"{ROOT}/spec/t-", data, sequence=True).rsplit("/", 1)[1]
        except LOST:
            found = again(lambda: find(client, spec["id"]))
            if found is not None:
                return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("hosts")
    parser.add_argument("action")
    parser.add_argument("seconds")
    parser.add_argument("promise")
    parser.add_argument("--timeout", type=float, default=5)
    arguments = parser.parse_args()
    client = connect(arguments.hosts, arguments.timeout)
    for parent in ["spec", "state"]:
        again(lambda parent=parent: client.ensure_path(f"{ROOT}/{parent}"))
    spec = {
        "id": uuid.uuid4().hex,
        "action": arguments.action,
        "args": {"seconds": arguments.seconds},
        "promise": arguments.promise,
        "by": "task_client.py",
    }
    task = submit(client, spec)
    say("submitted", task)
    while True:
        record = again(lambda: read(client, f"{ROOT}/state/{task}"))
        if record is not None and record["state"] not in LIVE:
            break
        time.sleep(0.1)
    say("result", record["state"])
    client.stop()
    client.close()


main()
