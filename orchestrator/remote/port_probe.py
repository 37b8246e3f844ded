"""Whether machines reach each other's ports: runs on each of them, read from standard input, and leaves nothing behind.

The first line on standard input asks for ports to listen on, ``{"listen": [["tcp", 6443], …], "seconds": 25, "word":
"…"}``, the second one for ports to connect to, ``{"connect": [["tcp", "10.0.0.2", 6443], …]}``; each is answered with a
line. It ends with its standard input, and in any case after ``seconds``. Standard library only, Python 3.7 or later.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import sys
import threading
from typing import Any

WAIT = 3.0


def bind(protocol: str, port: int) -> socket.socket:
    """A socket on every address of this machine."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    try:
        bound = socket.socket(socket.AF_INET6, kind)
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        address = "::"
    except OSError:
        bound = socket.socket(socket.AF_INET, kind)
        address = "0.0.0.0"  # noqa: S104 - the others are to reach it
    if protocol == "tcp":
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((address, port))
    if protocol == "tcp":
        bound.listen(64)
    return bound


def answer(protocol: str, bound: socket.socket, word: bytes) -> None:
    """Take connections and close them; send back what begins with the word."""
    while True:
        try:
            if protocol == "tcp":
                # The other side cuts it off.
                with bound.accept()[0] as taken:
                    taken.settimeout(WAIT)
                    taken.recv(1)
            else:
                content, sender = bound.recvfrom(256)
                if content == word:
                    bound.sendto(content, sender)
        except OSError:
            continue


def listen(request: dict[str, Any]) -> dict[str, Any]:
    """Listen on each port; which of them are taken, and which cannot be listened on."""
    taken: list[list[Any]] = []
    refused: dict[str, str] = {}
    for protocol, port in request["listen"]:
        try:
            bound = bind(protocol, port)
        except OSError as reason:
            if reason.errno == errno.EADDRINUSE:
                taken.append([protocol, port])
            else:
                refused[f"{port}/{protocol}"] = os.strerror(reason.errno or 0)
            continue
        arguments = (protocol, bound, request["word"].encode())
        threading.Thread(target=answer, args=arguments, daemon=True).start()
    return {"taken": taken, "refused": refused}


def reach(protocol: str, host: str, port: int, word: bytes) -> str:
    """Why a port cannot be reached; empty if it can."""
    try:
        if protocol == "tcp":
            with socket.create_connection((host, port), WAIT) as made:
                # Cut off and not closed, so that neither side keeps the port for a minute afterwards.
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return ""
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, number) as sender:
            sender.settimeout(WAIT / 3)
            sender.connect(address)
            for _ in range(3):
                sender.send(word)
                try:
                    sender.recv(256)
                except socket.timeout:  # noqa: UP041 - before Python 3.10 it was another
                    continue
                return ""
        return f"no answer within {WAIT:g} s"
    except socket.timeout:  # noqa: UP041 - before Python 3.10 it was another
        return f"no answer within {WAIT:g} s"
    except ConnectionRefusedError:
        return "refused"
    except socket.gaierror:
        return "the name is not known there"
    except OSError as reason:
        return (os.strerror(reason.errno) if reason.errno else str(reason)).lower()


def connect(request: dict[str, Any], word: bytes) -> dict[str, Any]:
    """Try all at the same time."""
    wanted = request.get("connect", [])
    found = [""] * len(wanted)

    def one(number: int) -> None:
        protocol, host, port = wanted[number]
        found[number] = reach(protocol, host, port, word)

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(len(wanted))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * WAIT)
    return {"reasons": found}


def say(value: dict[str, Any]) -> None:
    """One line to whoever asks."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Listen, connect, wait for the end."""
    request = json.loads(sys.stdin.readline())
    end = threading.Timer(request["seconds"], os._exit, (1,))
    end.daemon = True
    end.start()
    say(listen(request))
    line = sys.stdin.readline()
    if line.strip():
        say(connect(json.loads(line), request["word"].encode()))
        sys.stdin.readline()
    os._exit(0)


if __name__ == "__main__":
    main()
