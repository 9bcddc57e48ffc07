"""Programs of a lock-step fleet, with Kazoo's unmodified recipes.

measure ID HOSTS [SECONDS]    publishes a whole number in the ephemeral znode /mediciones/ID, adds one to Counter("/counter"), and
                              waits at Barrier("/barrier"), for at most SECONDS or without a timeout; repeats this.
lead ID HOSTS PERIOD          once elected in Election("/election", ID): creates the barrier, sleeps, averages, removes the
                              barrier; repeats this.

Prints: "connected", "published N", "let go True|False", "elected", "average MEAN of COUNT".
"""

import itertools
import sys
import time

import secured
import termination
from kazoo.exceptions import NoNodeError

PATH = "/mediciones"


def say(*words):
    print(*words, flush=True)


def measure(client, node, seconds=None):
    znode = f"{PATH}/{node}"
    counter = client.Counter("/counter")
    barrier = client.Barrier("/barrier")
    for number in itertools.count(1):
        data = str(number).encode("utf-8")
        try:
            client.set(znode, data)
        except NoNodeError:
            client.create(znode, data, ephemeral=True, makepath=True)
        say("published", number)
        counter += 1
        say("let go", barrier.wait(None if seconds is None else float(seconds)))


def lead(client, node, period):
    def cycles():
        say("elected")
        barrier = client.Barrier("/barrier")
        while True:
            barrier.create()
            time.sleep(float(period))
            values = []
            for child in client.get_children(PATH):
                try:
                    values.append(float(client.get(f"{PATH}/{child}")[0].decode("utf-8")))
                except NoNodeError:
                    continue
            if values:
                say("average", sum(values) / len(values), "of", len(values))
            barrier.remove()

    client.Election("/election", node).run(cycles)


def main():
    role, node, hosts, *arguments = sys.argv[1:]
    termination.exit_at_sigterm()
    client = secured.client(hosts)
    client.start(timeout=60)
    say("connected")
    client.ensure_path(PATH)
    try:
        {"measure": measure, "lead": lead}[role](client, node, *arguments)
    finally:
        client.stop()
        client.close()


main()
