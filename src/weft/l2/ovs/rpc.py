"""JSON-RPC 1.0 over a unix stream socket, as ovsdb-server (RFC 7047, section 4) and Open vSwitch's control sockets
(ovs-appctl, lib/unixctl.c) speak it: JSON objects without anything between them.
"""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from pathlib import Path
from typing import Any

from weft.model.errors import Kind, WeftError

_PATH_MAX = 100  # octets of a path in sockaddr_un that every system takes; longer ones go by their directory
_REMEDY = "install openvswitch-switch and start it"


class Rpc:
    """One connection. Errors are WeftErrors that name the socket: UNREACHABLE, or FAILED with the peer's own words."""

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        self.path = path
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._id = 0
        self.notices: deque[tuple[str, Any]] = deque()  # (method, parameters) that came unasked
        self.socket = connect(path, timeout)

    def close(self) -> None:
        self.socket.close()

    def call(self, method: str, *parameters: Any) -> Any:
        """The result of one call."""
        self._id += 1
        self._send({"method": method, "params": list(parameters), "id": self._id})
        while True:
            message = self._receive()
            if "method" in message:
                self._notice(message)
            elif message.get("id") == self._id:
                if message.get("error") is not None:
                    raise WeftError(Kind.FAILED, f"{method}: {_words(message['error'])}", where=str(self.path))
                return message.get("result")

    def poll(self) -> bool:
        """Takes what has come unasked into `notices`, never waits; False: the peer has closed the connection."""
        patience = self.socket.gettimeout()
        self.socket.settimeout(0)
        try:
            while octets := self.socket.recv(1 << 18):
                self._text += octets.decode()
            return False
        except BlockingIOError:
            pass
        except OSError:
            return False
        finally:
            self.socket.settimeout(patience)
        while (message := self._next()) is not None:
            if "method" in message:
                self._notice(message)
        return True

    def _notice(self, message: dict[str, Any]) -> None:
        if message["method"] == "echo":  # RFC 7047, section 4.1.11: is the client alive?
            self._send({"result": message["params"], "error": None, "id": message["id"]})
        else:
            self.notices.append((message["method"], message["params"]))

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self.socket.sendall(json.dumps(message).encode())
        except OSError as error:
            raise lost(self.path, error) from error

    def _receive(self) -> dict[str, Any]:
        while (message := self._next()) is None:
            try:
                octets = self.socket.recv(1 << 18)
            except OSError as error:
                raise lost(self.path, error) from error
            if not octets:
                raise WeftError(Kind.UNREACHABLE, "the connection was closed", where=str(self.path), remedy=_REMEDY)
            self._text += octets.decode()
        return message

    def _next(self) -> dict[str, Any] | None:
        if not self._text:
            return None
        try:
            message, end = self._decoder.raw_decode(self._text)
        except json.JSONDecodeError:  # the rest is still on its way
            return None
        self._text = self._text[end:].lstrip()
        found: dict[str, Any] = message
        return found


def connect(path: Path, timeout: float | None) -> socket.socket:
    """A stream connection to a unix socket, however long its path. Raises UNREACHABLE."""
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    end.settimeout(timeout)
    directory = -1
    try:
        if len(str(path)) < _PATH_MAX:
            end.connect(str(path))
        else:
            directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            end.connect(f"/proc/self/fd/{directory}/{path.name}")
    except OSError as error:
        end.close()
        raise lost(path, error) from error
    finally:
        if directory >= 0:
            os.close(directory)
    return end


def lost(path: Path, error: OSError) -> WeftError:
    what = f"Open vSwitch does not answer: {(error.strerror or str(error)).lower()}"
    return WeftError(Kind.UNREACHABLE, what, where=str(path), remedy=_REMEDY)


def _words(error: Any) -> str:
    if isinstance(error, dict):
        return str(error.get("details") or error.get("error"))
    return str(error).strip().replace("\n", "; ")
