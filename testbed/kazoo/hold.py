"""Holds a lock or a lease with Kazoo: KIND ID HOSTS PATH [--leases N], where KIND is lock, read, write or semaphore.

Prints "waiting ID" at the start, "held ID" after the acquisition, and holds it until SIGTERM; then prints "left ID" and ends.
"""

import argparse
import time

import secured
import termination


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["lock", "read", "write", "semaphore"])
    parser.add_argument("id")
    parser.add_argument("hosts")
    parser.add_argument("path")
    parser.add_argument("--leases", type=int, default=1)
    arguments = parser.parse_args()
    termination.exit_at_sigterm()

    client = secured.client(arguments.hosts)
    client.start(timeout=60)
    if arguments.kind == "semaphore":
        wanted = client.Semaphore(arguments.path, arguments.id, arguments.leases)
    else:
        kinds = {"lock": client.Lock, "read": client.ReadLock, "write": client.WriteLock}
        wanted = kinds[arguments.kind](arguments.path, arguments.id)

    try:
        print("waiting", arguments.id, flush=True)
        with wanted:
            print("held", arguments.id, flush=True)
            while True:
                time.sleep(0.05)
    finally:
        client.stop()
        client.close()
        print("left", arguments.id, flush=True)


main()
