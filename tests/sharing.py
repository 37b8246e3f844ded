"""How several processes share the tests: by file, and by whether a file uses the container engine.

Tests over the engine share machines, image caches and names of deployments, so that they do not run side by side.
pytest-xdist has marks for such groups; its 3.8 loses them under the pytest that we use, so that files are looked at.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

_ROOT = Path(__file__).resolve().parent.parent


@cache
def _has_engine_mark(file: str) -> bool:
    return "pytest.mark.engine" in (_ROOT / file).read_text(encoding="utf-8")


def uses_engine(node_id: str) -> bool:
    """Whether the test is in a file that has tests over the container engine."""
    return _has_engine_mark(node_id.partition("::")[0])


class ByEngineAndFile(LoadScopeScheduling):
    """Gives a process a file at a time, and one of them all files that use the engine."""

    def _split_scope(self, nodeid: str) -> str:
        return "engine" if uses_engine(nodeid) else nodeid.partition("::")[0]
