"""A TCP proxy that can refuse, cut, reset and delay connections."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time


class TcpProxy:
    """Passes bytes between clients and a server until told otherwise.

    Args:
        port: the server's port on this machine.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._open: list[socket.socket] = []
        self.delay_s = 0.0
        self._stopped = False
        self._refusing = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._stopped:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                _reset(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                _reset(client)
                continue
            self._open += [client, server]
            threading.Thread(target=self._pass, args=(client, server), daemon=True).start()

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        try:
            while not self._stopped:
                for ready in select.select([client, server], [], [], 0.2)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    time.sleep(self.delay_s)
                    other[ready].sendall(data)
        except (OSError, ValueError):
            return
        finally:
            client.close()
            server.close()

    def cut(self, refuse: bool = False) -> None:
        """Resets all connections; with ``refuse`` new ones are reset too, until ``restore``."""
        self._refusing = refuse
        for connection in self._open:
            _reset(connection)
        self._open.clear()

    def restore(self) -> None:
        """Lets everything pass again."""
        self._refusing, self.delay_s = False, 0.0

    def close(self) -> None:
        """Ends the proxy."""
        self._stopped = True
        self._listener.close()
        self.cut()


def _reset(connection: socket.socket) -> None:
    """Closes a connection so that the other side sees a reset."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    except OSError:
        pass
