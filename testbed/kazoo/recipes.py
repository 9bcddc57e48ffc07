"""One of Kazoo's recipes, unmodified, on one znode: HOSTS RECIPE PATH [ARGUMENT…], then one command per line of
standard input.

counter PATH                        value | add N | times N (adds 1, N times)
barrier PATH                        create | remove | wait [SECONDS]
double PATH CLIENTS [IDENTIFIER]    enter | leave
party PATH [IDENTIFIER]             join | leave | members | count
shallow PATH [IDENTIFIER]           join | leave | members | count
queue PATH                          put PRIORITY TEXT | get | count
locking PATH                        put PRIORITY TEXT | get [SECONDS] | holds | consume | release | count
partition PATH IDENTIFIER ITEM…     wait | state | list | release | finish
lease PATH SECONDS IDENTIFIER       obtain [SECONDS by which its clock is ahead]
times PATH SECONDS IDENTIFIER       obtain N (number of leases: PATH/0 and so on)
leases PATH COUNT SECONDS IDENTIFIER    obtain

Prints "connected", then "[NUMBER] ANSWER" for each command, counted from 1: "None", "True" and "False" as Python prints
them, text unchanged, lists separated by blanks; "error NAME" for an exception.
"""

import sys
from datetime import datetime, timedelta

import secured
from kazoo.exceptions import KazooException


def counter(client, path):
    it = client.Counter(path)

    def add(number):
        it.__add__(int(number))
        return it.post_value

    def times(number):
        for _ in range(int(number)):
            it.__add__(1)

    return {"value": lambda: it.value, "add": add, "times": times}


def barrier(client, path):
    it = client.Barrier(path)
    return {
        "create": it.create,
        "remove": it.remove,
        "wait": lambda seconds=None: it.wait(None if seconds is None else float(seconds)),
    }


def double(client, path, clients, identifier=None):
    it = client.DoubleBarrier(path, int(clients), identifier)

    def enter():
        it.enter()
        return it.participating

    return {"enter": enter, "leave": it.leave}


def party(client, path, identifier=None, kind="Party"):
    it = getattr(client, kind)(path, identifier)
    return {"join": it.join, "leave": it.leave, "members": lambda: sorted(it), "count": lambda: len(it)}


def shallow(client, path, identifier=None):
    return party(client, path, identifier, kind="ShallowParty")


def queue(client, path):
    it = client.Queue(path)
    return {
        "put": lambda priority, *words: it.put(" ".join(words).encode(), int(priority)),
        "get": it.get,
        "count": lambda: len(it),
    }


def locking(client, path):
    it = client.LockingQueue(path)
    return {
        "put": lambda priority, *words: it.put(" ".join(words).encode(), int(priority)),
        "get": lambda seconds=None: it.get(None if seconds is None else float(seconds)),
        "holds": it.holds_lock,
        "consume": it.consume,
        "release": it.release,
        "count": lambda: len(it),
    }


def partition(client, path, identifier, *items):
    it = client.SetPartitioner(path, set=set(items), identifier=identifier, time_boundary=0.5)
    return {
        "wait": lambda: it.wait_for_acquire(60),
        "state": lambda: it.state,
        "list": lambda: list(it),
        "release": it.release_set,
        "finish": it.finish,
    }


def lease(client, path, seconds, identifier):
    length = timedelta(seconds=int(seconds))

    def obtain(ahead="0"):
        clock = lambda: datetime.utcnow() + timedelta(seconds=int(ahead))
        return bool(client.NonBlockingLease(path, length, identifier, clock))

    return {"obtain": obtain}


def times(client, path, seconds, identifier):
    each = lambda number: lease(client, f"{path}/{number}", seconds, identifier)["obtain"]
    return {"obtain": lambda count: sum(each(number)() for number in range(int(count)))}


def leases(client, path, count, seconds, identifier):
    length = timedelta(seconds=int(seconds))
    return {"obtain": lambda: bool(client.MultiNonBlockingLease(int(count), path, length, identifier))}


def said(answer):
    if isinstance(answer, bytes):
        return answer.decode()
    if isinstance(answer, list):
        return " ".join(answer)
    return str(answer)


def main():
    hosts, recipe, path, *arguments = sys.argv[1:]
    client = secured.client(hosts, timeout=10)
    client.start(timeout=30)
    commands = globals()[recipe](client, path, *arguments)
    print("connected", flush=True)
    for number, line in enumerate(sys.stdin, 1):
        command, *words = line.split()
        try:
            answer = said(commands[command](*words))
        except KazooException as error:
            answer = f"error {type(error).__name__}"
        print(f"[{number}] {answer}", flush=True)
    client.stop()
    client.close()


main()
