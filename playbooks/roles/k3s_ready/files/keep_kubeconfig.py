"""Keeps a cluster's kubeconfig on the controller, with the address that it is reached by, and calls the API with it.

Takes JSON on standard input, so that the keys in it are in no argument list.
"""

import base64
import http.client
import json
import os
import re
import ssl
import sys
import tempfile
import time
from urllib.parse import urlsplit


def keep(path, text):
    """Write it, open to its owner only, if it is another than is there."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    try:
        with open(path, encoding="utf-8") as stream:
            same = stream.read() == text and os.fstat(stream.fileno()).st_mode & 0o7777 == 0o600
    except OSError:
        same = False
    if same:
        return False
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".kubeconfig-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(temporary, path)
    return True


def call(text, folder, timeout):
    """What the API answers to an administrator: nothing if it is ready, else the trouble in words."""
    fields = dict(re.findall(r"^[\s-]*([a-z-]+): (\S+)$", text, re.MULTILINE))
    parts = urlsplit(fields["server"])
    context = ssl.create_default_context(cadata=decode(fields["certificate-authority-data"]))
    with tempfile.NamedTemporaryFile("w", dir=folder, encoding="ascii") as pair:
        pair.write(decode(fields["client-certificate-data"]) + "\n" + decode(fields["client-key-data"]))
        pair.flush()
        context.load_cert_chain(pair.name)
    end, trouble = time.monotonic() + timeout, ""
    while time.monotonic() < end:
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=5, context=context)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            told = answer.read().decode(errors="replace")
            if answer.status == 200:
                return ""
            trouble = f"it answers with HTTP status {answer.status}: {told[:200]}"
        except ssl.SSLError as reason:
            return f"it shows a certificate that the kubeconfig does not know, or refuses ours: {reason}"
        except (OSError, http.client.HTTPException) as reason:
            trouble = str(reason) or type(reason).__name__
        finally:
            connection.close()
        time.sleep(0.5)
    return trouble


def decode(text):
    """Base64 as text."""
    return base64.b64decode(text).decode()


def main():
    """Do it; exit code 1 if the API cannot be called."""
    order = json.load(sys.stdin)
    text = (
        re.sub(r"(?m)^(\s*server: ).*$", lambda found: found.group(1) + order["server"], order["text"]).strip() + "\n"
    )
    changed = keep(order["path"], text)
    trouble = call(text, os.path.dirname(order["path"]), order["timeout"]) if order["timeout"] else ""
    print(json.dumps({"changed": changed, "trouble": trouble}))
    sys.exit(1 if trouble else 0)


if __name__ == "__main__":
    main()
