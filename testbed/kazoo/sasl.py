"""Authenticates by SASL DIGEST-MD5: HOSTS USER PASSWORD PATH. Creates PATH with an ACL for its user alone.

Prints "created PATH", or "refused" if the servers refuse the password.
"""

import sys

from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, ConnectionClosedError
from kazoo.security import make_acl

hosts, user, password, path = sys.argv[1:]
options = {"mechanism": "DIGEST-MD5", "username": user, "password": password}
client = KazooClient(hosts=hosts, sasl_options=options)
try:
    client.start(timeout=30)
    print("created", client.create(path, b"", acl=[make_acl("sasl", user, all=True)]), flush=True)
except (AuthFailedError, ConnectionClosedError):
    print("refused", flush=True)
client.stop()
