"""Receives SIGTERM in a finalizer, whose exceptions Python ignores. Prints: "in a finalizer"."""

import time

import termination


class Slow:
    def __del__(self):
        print("in a finalizer", flush=True)
        time.sleep(30)


termination.exit_at_sigterm()
Slow()
while True:
    time.sleep(1)
