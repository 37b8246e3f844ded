"""What holds for the whole process: what it says, when it ends, which release it takes itself for."""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime

from k3s_standin.release import KUBERNETES_VERSION

VERSION = f"{KUBERNETES_VERSION}+k3s1-standin"
STOP = threading.Event()


class FatalError(Exception):
    """Ends the process with K3s's form of a fatal message."""


def log(level: str, message: str) -> None:
    """One line on standard error, as K3s writes it."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    print(f"time={json.dumps(stamp)} level={level} msg={json.dumps(message)}", file=sys.stderr, flush=True)
