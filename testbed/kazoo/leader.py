"""A complete node of an existing Kazoo fleet: ID HOSTS PERIOD URL [--cast int|float].

Each PERIOD seconds it publishes a whole number from 75 to 85 in the ephemeral znode /mediciones/ID. It takes part in
Election("/election", ID); while it leads it lists the children, reads each, casts, averages, and sends the mean. Kazoo
is used unmodified, with its weaknesses: the program does not step down when a session is lost.

Prints: "connected", "published N", "elected", "average MEAN of COUNT", "sent STATUS", "not sent ERROR". A child that
cannot be cast ends the program with a traceback, as in those fleets.
"""

import argparse
import random
import sys
import threading
import time

import requests
import secured
import termination
from kazoo.exceptions import NoNodeError

PATH = "/mediciones"


def say(*words):
    # One write per line, because two threads print.
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


def publish(client, znode, period):
    while True:
        number = random.randint(75, 85)
        data = str(number).encode("utf-8")
        try:
            client.set(znode, data)
        except NoNodeError:
            client.create(znode, data, ephemeral=True, makepath=True)
        say("published", number)
        time.sleep(period)


def lead(client, cast, period, url):
    say("elected")
    while True:
        values = []
        for child in client.get_children(PATH):
            try:
                data, _ = client.get(f"{PATH}/{child}")
            except NoNodeError:
                continue
            values.append(cast(data.decode("utf-8")))
        if values:
            mean = sum(values) / len(values)
            say("average", mean, "of", len(values))
            try:
                response = requests.get(url, params={"dato": mean}, timeout=10)
                say("sent", response.status_code)
            except requests.RequestException as error:
                say("not sent", error)
        time.sleep(period)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("id")
    parser.add_argument("hosts")
    parser.add_argument("period", type=float)
    parser.add_argument("url")
    parser.add_argument("--cast", choices=["int", "float"], default="float")
    arguments = parser.parse_args()
    termination.exit_at_sigterm()

    client = secured.client(arguments.hosts)
    client.start(timeout=60)
    say("connected")
    znode = f"{PATH}/{arguments.id}"
    client.ensure_path(PATH)
    threading.Thread(target=publish, args=(client, znode, arguments.period), daemon=True).start()
    cast = {"int": int, "float": float}[arguments.cast]
    try:
        election = client.Election("/election", arguments.id)
        election.run(lead, client, cast, arguments.period, arguments.url)
    finally:
        client.stop()
        client.close()


main()
