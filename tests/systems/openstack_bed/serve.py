"""Serves one of OpenStack's services on loopback; run by the Python that has them.

    serve.py SERVICE CALLS INTERNAL_PORT PUBLIC_PORT [CERTIFICATE KEY]

The other services ask at the internal port. What is asked at the public one is written down in the file CALLS, a line
of JSON each, so that calls of clients can be counted. With a certificate the public port speaks TLS.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

MODULES = {
    "keystone": "keystone.wsgi.api",
    "glance": "glance.wsgi.api",
    "placement": "placement.wsgi.api",
    "nova": "nova.wsgi.osapi_compute",
    "neutron": "neutron.wsgi.api",
    "cinder": "cinder.wsgi.api",
}
THREADS = 16

Environment = dict[str, Any]
Application = Callable[[Environment, Callable[..., Any]], Iterable[bytes]]


class Counted:
    """The application, with every call written down before its answer leaves."""

    def __init__(self, application: Application, calls: Path) -> None:
        self.application = application
        self.lines = calls.open("a", encoding="utf-8", buffering=1)
        self.lock = threading.Lock()

    def __call__(self, environment: Environment, start_response: Callable[..., Any]) -> Iterable[bytes]:
        begun, status = time.time(), 0

        def start(line: str, *others: object) -> Any:
            nonlocal status
            status = int(line.split(maxsplit=1)[0])
            return start_response(line, *others)

        body = self.application(environment, start)
        try:
            answer = list(body)
        finally:
            if hasattr(body, "close"):
                body.close()
        call = {
            "method": environment["REQUEST_METHOD"],
            "path": environment.get("SCRIPT_NAME", "") + environment.get("PATH_INFO", ""),
            "query": environment.get("QUERY_STRING", ""),
            "status": status,
            "at": begun,
            "seconds": round(time.time() - begun, 4),
        }
        with self.lock:
            self.lines.write(json.dumps(call) + "\n")
        return answer


def main() -> None:
    """Serve until a signal ends it."""
    service, calls, internal, public, *certificate = sys.argv[1:]
    del sys.argv[1:]  # the services read their arguments too
    application = import_module(MODULES[service]).application

    from waitress import create_server

    inside = create_server(application, host="127.0.0.1", port=int(internal), threads=THREADS)
    threading.Thread(target=inside.run, daemon=True).start()
    counted = Counted(application, Path(calls))
    if certificate:
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Handler(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"  # connections are kept

            def log_request(self, *others: object) -> None:
                """Keep quiet."""

        make_server(
            "127.0.0.1",
            int(public),
            counted,
            threaded=True,
            request_handler=Handler,
            ssl_context=(certificate[0], certificate[1]),
        ).serve_forever()
    else:
        create_server(counted, host="127.0.0.1", port=int(public), threads=THREADS).run()


if __name__ == "__main__":
    main()
