"""Servers on loopback that last as long as a test wants them."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any


@contextmanager
def serving(
    handler: Callable[..., BaseHTTPRequestHandler], certificate: Path | None = None, key: Path | None = None
) -> Iterator[str]:
    """Runs one on a free port; gives its URL, without a slash at the end.

    Args:
        handler: What answers.
        certificate: File of a certificate: then it speaks TLS.
        key: That of its key; without it the key is in the same one.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        quiet: Any = server
        quiet.handle_error = lambda *_: None  # of clients that do not trust it
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
