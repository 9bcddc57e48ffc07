"""TLS in front of an HTTP server on this machine: PORT, and a file with certificate and key.

Prints "listening PORT" with its own port, then forwards what arrives there, decrypted. Failed handshakes are
not logged here, because the client reports the reason.
"""

import select
import socket
import socketserver
import ssl
import sys

TARGET = ("127.0.0.1", int(sys.argv[1]))
PATIENCE = 30


class Forward(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.settimeout(PATIENCE)
        try:
            with CONTEXT.wrap_socket(self.request, server_side=True) as client:
                with socket.create_connection(TARGET, PATIENCE) as server:
                    exchange(client, server)
        except OSError:
            pass


def exchange(client, server):
    while True:
        # select() does not see data that TLS has already decrypted.
        ready = [client] if client.pending() else select.select([client, server], [], [])[0]
        for source, sink in (client, server), (server, client):
            if source in ready:
                data = source.recv(65536)
                if not data:
                    return
                sink.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
CONTEXT.load_cert_chain(sys.argv[2])
with Server(("127.0.0.1", 0), Forward) as server:
    print("listening", server.server_address[1], flush=True)
    server.serve_forever()
