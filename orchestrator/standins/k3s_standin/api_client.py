"""Requests of the API with the administrator's certificate, as the commands make them."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import secrets
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from k3s_standin.machine import rooted, write_private


class CommandError(Exception):
    """What kubectl prints before it ends with exit code 1."""


def api_call(method: str, path: str, body: Any = None) -> tuple[int, str]:
    """One request with the administrator's certificate."""
    given = os.environ.get("KUBECONFIG")
    text = (Path(given) if given else rooted("/etc/rancher/k3s/k3s.yaml")).read_text()
    fields = dict(re.findall(r"^\s*([a-z-]+): (\S+)$", text, re.MULTILINE))
    parts = urlsplit(fields["server"])
    context = ssl.create_default_context(cadata=base64.b64decode(fields["certificate-authority-data"]).decode())
    bundle = rooted(f"/run/k3s-kubectl-{os.getpid()}-{secrets.token_hex(4)}.pem")
    pair = (base64.b64decode(fields[f"client-{part}-data"]).decode() for part in ("certificate", "key"))
    write_private(bundle, "".join(pair))
    try:
        context.load_cert_chain(bundle)
    finally:
        bundle.unlink()
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=20, context=context)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def call_well(method: str, path: str, body: Any = None) -> Any:
    """An answer's value; a refusal ends the command in kubectl's words."""
    code, text = api_call(method, path, body)
    if code < 400:
        return json.loads(text) if text[:1] in {"{", "["} else text
    if text[:1] == "{":
        loaded = json.loads(text)
        raise CommandError(f"Error from server ({loaded.get('reason')}): {loaded.get('message')}")
    raise CommandError(f"Error from server: {text.strip()}")
