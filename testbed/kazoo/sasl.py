"""Authenticates by SASL DIGEST-MD5: HOSTS USER PASSWORD PATH. Creates PATH with an ACL for its user only.

Prints "created PATH", or "refused" if the servers refuse the password.
"""

import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, ConnectionClosedError
from kazoo.protocol.states import KeeperState
from kazoo.security import make_acl

TIMEOUT = 30


class Client(KazooClient):
    """Detects a refusal that arrives before start() waits. Kazoo does not: it waits for its complete timeout."""

    def __init__(self, **options):
        self.refused = threading.Event()
        super().__init__(**options)

    def _session_callback(self, state):
        if state == KeeperState.AUTH_FAILED:
            self.refused.set()
        super()._session_callback(state)

    def connect(self):
        connected, end = self.start_async(), time.monotonic() + TIMEOUT
        while not connected.wait(0.05):
            if self.refused.is_set():
                raise AuthFailedError()
            if time.monotonic() > end:
                sys.exit("no connection")


hosts, user, password, path = sys.argv[1:]
options = {"mechanism": "DIGEST-MD5", "username": user, "password": password}
client = Client(hosts=hosts, sasl_options=options)
try:
    client.connect()
    print("created", client.create(path, b"", acl=[make_acl("sasl", user, all=True)]), flush=True)
except (AuthFailedError, ConnectionClosedError):
    print("refused", flush=True)
client.stop()
