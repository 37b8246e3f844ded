"""An emulator of AWS that is not ours (moto), on loopback: strict where it can be told to be; nothing in it is kept."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

STRICT = (
    "MOTO_ENABLE_AMI_VALIDATION",
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION",
    "MOTO_ENABLE_KEYPAIR_VALIDATION",
)
"""Without these it starts machines from images, sizes and keys that are not there."""


@contextmanager
def moto_server() -> Iterator[str]:
    """Runs one on a free port; gives its URL."""
    for name in STRICT:
        os.environ[name] = "true"
    try:
        from moto import settings
        from moto.server import ThreadedMotoServer
    finally:
        for name in STRICT:
            del os.environ[name]
    assert settings.ENABLE_AMI_VALIDATION, "somebody imported moto before it was told to be strict"
    assert settings.EC2_ENABLE_INSTANCE_TYPE_VALIDATION
    assert settings.ENABLE_KEYPAIR_VALIDATION
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def moto_process() -> Iterator[str]:
    """The same as a process of its own, which outlives whoever asks it and computes beside him."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    environment = {**os.environ, **dict.fromkeys(STRICT, "true")}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        for _ in range(300):
            assert process.poll() is None, "the emulator of AWS did not come up"
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def aws_settings(monkeypatch: pytest.MonkeyPatch, url: str, endpoint: str = "AWS_ENDPOINT_URL") -> None:
    """Let AWS clients speak to a server of the tests and nothing else, whatever the caller's settings are."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    settings = {
        endpoint: url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
