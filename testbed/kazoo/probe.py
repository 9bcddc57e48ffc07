"""Executes commands in ZooKeeper: HOSTS, then one JSON object per line of standard input.

{"command": "ls" | "get" | "exists" | "create" | "set" | "delete" | "contenders" | "session" | "auth" | "acl",
 "path": …, "data": base64, "ephemeral": bool, "parents": bool, "open": bool}

"acl" makes a znode read-only for all but this client, which "auth" must have authenticated, or restores the ACL of this
client's znodes: open to all, unless the environment sets another one (see secured.py).

Prints "connected", then one line for each command: {"ok": …}, or {"error": the name of Kazoo's exception}. A command
is retried while no server answers, for up to 30 seconds.
"""

import base64
import json
import sys
import time

import secured
from kazoo.exceptions import ConnectionLoss, NoNodeError, OperationTimeoutError, SessionExpiredError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.security import OPEN_ACL_UNSAFE, make_acl, make_digest_acl

PATIENCE = 30
CREDENTIALS = ("probe", "probe")
AGAIN = (ConnectionLoss, OperationTimeoutError, SessionExpiredError, KazooTimeoutError)


def stat(found):
    return {name: getattr(found, name) for name in found._fields}


def execute(client, request):
    command, path = request["command"], request.get("path")
    data = base64.b64decode(request.get("data", ""))

    def wait(result):
        return result.get(timeout=5)

    if command == "session":
        # Kazoo has no session id while it changes the server.
        if client.client_id is None:
            raise ConnectionLoss
        return client.client_id[0]
    if command == "ls":
        return sorted(wait(client.get_children_async(path)))
    if command == "get":
        data, found = wait(client.get_async(path))
        return {"data": base64.b64encode(data or b"").decode("ascii"), "stat": stat(found)}
    if command == "exists":
        found = wait(client.exists_async(path))
        if found is None:
            raise NoNodeError
        return stat(found)
    if command == "create":
        parents = bool(request.get("parents", True))
        return wait(client.create_async(path, data, ephemeral=bool(request.get("ephemeral")), makepath=parents))
    if command == "set":
        return stat(wait(client.set_async(path, data)))
    if command == "delete":
        return wait(client.delete_async(path))
    if command == "contenders":
        return client.Election(path).contenders()
    if command == "auth":
        return client.add_auth("digest", ":".join(CREDENTIALS))
    if command == "acl":
        mine = make_digest_acl(*CREDENTIALS, all=True)
        read_only = [make_acl("world", "anyone", read=True), mine]
        usual = client.default_acl or OPEN_ACL_UNSAFE
        return stat(wait(client.set_acls_async(path, usual if request["open"] else read_only)))
    raise ValueError(command)


def main():
    # Kazoo's default pauses between attempts to connect grow to a minute.
    client = secured.client(sys.argv[1], timeout=10, connection_retry={"max_tries": -1, "max_delay": 0.5})
    client.start(timeout=PATIENCE)
    print("connected", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                answer = {"ok": execute(client, request)}
            except AGAIN as error:
                answer = {"error": type(error).__name__}
                if time.monotonic() < end:
                    time.sleep(0.1)
                    continue
            except Exception as error:
                answer = {"error": type(error).__name__}
            break
        print(json.dumps(answer), flush=True)
    client.stop()
    client.close()


main()
