"""Connects a program of this folder as its environment says, so that its arguments are the same on a secured ZooKeeper.

KAZOO_CA, KAZOO_CERTIFICATE, KAZOO_KEY    PEM files; with the first one, the connection uses TLS
KAZOO_USER, KAZOO_PASSWORD_FILE           identity
KAZOO_AUTH                                "sasl" (DIGEST-MD5, the default) or "digest"
KAZOO_ACL                                 ACL of the znodes that the program creates: SCHEME:ID:PERMISSIONS, separated by
                                          spaces, with the permissions of ZooKeeper's command line, such as sasl:fleet:cdrwa
"""

import os

from kazoo.client import KazooClient
from kazoo.security import make_acl

PERMISSIONS = {"c": "create", "d": "delete", "r": "read", "w": "write", "a": "admin"}


def acl(text):
    entries = []
    for entry in text.split():
        scheme, rest = entry.split(":", 1)
        credential, permissions = rest.rsplit(":", 1)
        entries.append(make_acl(scheme, credential, **{PERMISSIONS[letter]: True for letter in permissions}))
    return entries


def client(hosts, **options):
    environment = os.environ
    if "KAZOO_CA" in environment:
        options.update(
            use_ssl=True,
            ca=environment["KAZOO_CA"],
            certfile=environment.get("KAZOO_CERTIFICATE"),
            keyfile=environment.get("KAZOO_KEY"),
        )
    user = environment.get("KAZOO_USER")
    if user is not None:
        with open(environment["KAZOO_PASSWORD_FILE"], encoding="utf-8") as file:
            password = file.read().rstrip("\n")
        if environment.get("KAZOO_AUTH", "sasl") == "sasl":
            options["sasl_options"] = {"mechanism": "DIGEST-MD5", "username": user, "password": password}
        else:
            options["auth_data"] = [("digest", f"{user}:{password}")]
    if "KAZOO_ACL" in environment:
        options["default_acl"] = acl(environment["KAZOO_ACL"])
    return KazooClient(hosts=hosts, **options)
