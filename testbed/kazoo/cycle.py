"""One cycle of a leader that uses Kazoo: HOSTS, then a number of repetitions per line of standard input.

Lists /mediciones, reads every child, casts, averages, in two ways: "each", one `get` after the other, like existing fleets;
and "async", all of them with `get_async` before it reads the first answer.

Prints {"kazoo": VERSION, "python": VERSION} when it is connected, then one line for each input line:
{"mean": …, "each": [nanoseconds, …], "async": [nanoseconds, …]}.
"""

import json
import platform
import sys
import time

import kazoo.version
from kazoo.client import KazooClient

PATH = "/mediciones"


def mean(values):
    return sum(values) / len(values)


def each(client):
    values = []
    for child in client.get_children(PATH):
        data, _ = client.get(f"{PATH}/{child}")
        values.append(float(data.decode("utf-8")))
    return mean(values)


def all_at_once(client):
    answers = [client.get_async(f"{PATH}/{child}") for child in client.get_children(PATH)]
    values = []
    for answer in answers:
        data, _ = answer.get()
        values.append(float(data.decode("utf-8")))
    return mean(values)


def main():
    client = KazooClient(hosts=sys.argv[1], timeout=40)
    client.start(timeout=60)
    print(json.dumps({"kazoo": kazoo.version.__version__, "python": platform.python_version()}), flush=True)
    for line in sys.stdin:
        times = {"each": [], "async": []}
        for _ in range(int(line)):
            for name, cycle in (("each", each), ("async", all_at_once)):
                start = time.perf_counter_ns()
                result = cycle(client)
                times[name].append(time.perf_counter_ns() - start)
        print(json.dumps({"mean": result, **times}), flush=True)
    client.stop()
    client.close()


main()
