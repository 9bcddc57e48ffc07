"""A Kazoo program that only measures: ID HOSTS PERIOD VALUE [--path /mediciones].

Publishes VALUE in an ephemeral znode PATH/ID and writes it each PERIOD seconds. Prints: "connected", "published VALUE".
"""

import argparse
import time

import secured
import termination
from kazoo.exceptions import NoNodeError


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("id")
    parser.add_argument("hosts")
    parser.add_argument("period", type=float)
    parser.add_argument("value")
    parser.add_argument("--path", default="/mediciones")
    arguments = parser.parse_args()
    termination.exit_at_sigterm()

    client = secured.client(arguments.hosts)
    client.start(timeout=60)
    print("connected", flush=True)
    znode = f"{arguments.path}/{arguments.id}"
    data = arguments.value.encode("utf-8")
    try:
        while True:
            try:
                client.set(znode, data)
            except NoNodeError:
                client.create(znode, data, ephemeral=True, makepath=True)
            print("published", arguments.value, flush=True)
            time.sleep(arguments.period)
    finally:
        client.stop()
        client.close()


main()
