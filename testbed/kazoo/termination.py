"""Ends a program at SIGTERM as sys.exit() does."""

import signal
import sys

RETRY = 0.01


def end(*_):
    sys.exit(0)


def retry(unraisable):
    if unraisable.exc_type is SystemExit:
        signal.setitimer(signal.ITIMER_REAL, RETRY)
    else:
        sys.__unraisablehook__(unraisable)


def exit_at_sigterm():
    """Makes SIGTERM raise SystemExit in the main thread. Python ignores exceptions in finalizers and in callbacks of
    weak references; if the signal arrives in one of these, the exception is raised again afterwards."""
    sys.unraisablehook = retry
    signal.signal(signal.SIGALRM, end)
    signal.signal(signal.SIGTERM, end)
