"""A node of the fleets that Atalaya replaces, with all of their functions: ID HOSTS CHROOT SESSION PERIOD URL SYNC.

Publishes a whole number in the ephemeral znode /mediciones/ID, then adds one to Counter("/counter"), each PERIOD seconds,
or, if SYNC is "barrier" or "patient", whenever Barrier("/barrier") was opened; "barrier" waits for at most two periods.
Takes part in Election("/election", ID); the leader lists the children, reads each, averages, sends the mean, and in lock-step
opens the barrier and closes it again. Kazoo is used unmodified, with its weaknesses: the program does not step down when a
session is lost.

The numbers are large, so that every mean is unique. Steps are repeated until they succeed: a node that gets an error from
Kazoo prints it and continues with the next cycle.

ATALAYA_FAULT has the same format as for Atalaya's nodes: between computing an average and sending it, or after the answer,
whichever is nearest, the process kills or stops itself.

Prints: "connected", "published N", "elected", "average MEAN of COUNT", "sent STATUS", "not sent ERROR", "error ERROR".
"""

import os
import random
import signal
import sys
import threading
import time

import requests
import secured
import termination
from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError

PATH = "/mediciones"


def say(*words):
    # One write per line, because two threads print.
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


class Fault:
    """Fault point at which the process kills or stops itself."""

    def __init__(self, text):
        words = (text or "nowhere:1").split(":")
        self.point, self.left, self.stops = words[0], int(words[1]), words[2:] == ["stop"]

    def at(self, *points):
        if self.point not in points:
            return
        self.left -= 1
        if self.left == 0:
            say("fault point:", "stopping" if self.stops else "dying", "here", self.point)
            os.kill(os.getpid(), signal.SIGSTOP if self.stops else signal.SIGKILL)


FAULT = Fault(os.environ.get("ATALAYA_FAULT"))


def publish(client, node, period, sync):
    znode = f"{PATH}/{node}"
    counter = client.Counter("/counter")
    barrier = client.Barrier("/barrier")
    while True:
        try:
            number = random.randint(0, 10**12)
            data = str(number).encode("utf-8")
            try:
                client.set(znode, data)
            except NoNodeError:
                client.create(znode, data, ephemeral=True, makepath=True)
            say("published", number)
            counter += 1
            if sync != "free":
                barrier.wait(None if sync == "patient" else 2 * period)
        except (KazooException, KazooTimeoutError) as error:
            say("error", repr(error))
        if sync == "free":
            time.sleep(period)


def mean_of(client):
    values = []
    for child in client.get_children(PATH):
        try:
            data, _ = client.get(f"{PATH}/{child}")
        except NoNodeError:
            continue
        values.append(float(data.decode("utf-8")))
    return values


def lead(client, node, period, url, in_step):
    say("elected")
    barrier = client.Barrier("/barrier")
    if in_step:
        barrier.create()
    agent = {"User-Agent": f"kazoo (node {node})"}
    while True:
        time.sleep(period)
        values = mean_of(client)
        if values:
            mean = sum(values) / len(values)
            say("average", repr(mean), "of", len(values))
            FAULT.at("gathered", "committing", "committed", "sending")
            try:
                response = requests.get(url, params={"dato": repr(mean)}, headers=agent, timeout=10)
                say("sent", response.status_code)
            except requests.RequestException as error:
                say("not sent", error)
            FAULT.at("answered", "deleting", "deleted")
        if in_step:
            barrier.remove()
            try:
                barrier.create()
            except NodeExistsError:
                pass


def main():
    node, hosts, chroot, session, period, url, sync = sys.argv[1:]
    termination.exit_at_sigterm()
    first = secured.client(hosts)
    first.start(timeout=60)
    first.ensure_path(chroot)
    first.stop()
    first.close()

    client = secured.client(hosts + chroot, timeout=float(session))
    client.start(timeout=60)
    say("connected")
    period, in_step = float(period), sync != "free"
    client.ensure_path(PATH)
    threading.Thread(target=publish, args=(client, node, period, sync), daemon=True).start()
    while True:
        try:
            election = client.Election("/election", node)
            election.run(lead, client, node, period, url, in_step)
        except (KazooException, KazooTimeoutError) as error:
            say("error", repr(error))
            time.sleep(period)


main()
