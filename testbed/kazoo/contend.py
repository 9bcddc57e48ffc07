"""Takes part in an election and does nothing more: ID HOSTS [--hold S] [--path /election].

Prints "contending ID" at the start and "elected ID" when it leads; leads for S seconds, or until SIGTERM; then
prints "left ID" and ends.
"""

import argparse
import time

import secured
import termination


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("id")
    parser.add_argument("hosts")
    parser.add_argument("--hold", type=float)
    parser.add_argument("--path", default="/election")
    arguments = parser.parse_args()
    termination.exit_at_sigterm()

    client = secured.client(arguments.hosts)
    client.start(timeout=60)

    def lead():
        print("elected", arguments.id, flush=True)
        end = None if arguments.hold is None else time.monotonic() + arguments.hold
        while end is None or time.monotonic() < end:
            time.sleep(0.05)

    try:
        print("contending", arguments.id, flush=True)
        client.Election(arguments.path, arguments.id).run(lead)
    finally:
        client.stop()
        client.close()
        print("left", arguments.id, flush=True)


main()
