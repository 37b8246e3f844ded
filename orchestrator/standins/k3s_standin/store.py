"""The cluster's state, kept by a majority of its servers."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from k3s_standin.machine import write_private
from k3s_standin.process import STOP


class QuorumError(Exception):
    """Too few servers can be reached for a write or a read that counts."""


LOST = "etcdserver: request timed out"

REQUEST_TIMEOUT = 5.0
"""Seconds that a request waits for a majority, as etcd lets it: one that is slow for a moment is not lost."""


def new_state() -> dict[str, Any]:
    """What a cluster knows: servers, nodes, node passwords, objects."""
    return {"version": 1, "members": {}, "nodes": {}, "passwords": {}, "objects": {}, "settings": {}}


class Store:
    """The cluster's state, in ``server/db/state.json`` and, where servers joined, on a majority of them.

    Not Raft: a majority follows one server as long as it answers; where none is followed, the one with the newest state
    decides, the first in order of joining where several have it. It hands every change to the others and needs a
    majority with itself.
    """

    def __init__(self, data: Path, name: str, password: str) -> None:
        self._file = data / "server" / "db" / "state.json"
        self.name = name
        self._password = password
        self.lock = threading.RLock()
        self.state: dict[str, Any] = new_state()
        if self._file.is_file():
            self.state.update(json.loads(self._file.read_text()))
        self._known = json.dumps(self.state)
        self._answered: dict[str, int] = {}
        self._saved = 0
        self._followed = ""
        self._is_doubted = False

    @property
    def members(self) -> dict[str, dict[str, str]]:
        """Servers that keep the state together, in the order in which they joined; none without embedded etcd."""
        members: dict[str, dict[str, str]] = self.state["members"]
        return members

    @property
    def voters(self) -> list[str]:
        """Members that have answered once; until then a new one learns, and does not count."""
        return [name for name, entry in self.members.items() if not entry.get("learner")]

    @property
    def needed(self) -> int:
        """How many servers are a majority."""
        return len(self.voters) // 2 + 1 if self.members else 1

    @property
    def alive(self) -> int:
        """How many servers that count answered last time, this one included."""
        return len({self.name, *self._answered} & set(self.voters)) if self.members else 1

    def has_quorum(self) -> bool:
        """Whether a majority answered last time, this server being one of it."""
        return self.alive >= self.needed and (not self.members or self.name in self.members)

    def need_quorum(self) -> None:
        """Wait for a majority, which the server's own rounds look for; raises QuorumError if there is none in time."""
        end = time.monotonic() + REQUEST_TIMEOUT
        while not self.has_quorum():
            if time.monotonic() > end or STOP.wait(0.1):
                raise QuorumError(LOST)

    def leader(self) -> str:
        """Who decides, as of the last look around."""
        if not self.members:
            return self.name
        return self._followed or self._newest(self._versions(int(self.state["version"])))

    def _versions(self, own: int) -> dict[str, int]:
        """Versions of the servers that count and answer, in the order of their joining."""
        known = {**self._answered, self.name: max(own, self._saved)}
        return {name: known[name] for name in self.voters if name in known}

    def _newest(self, versions: dict[str, int]) -> str:
        return max(versions, key=versions.__getitem__, default=self.name)

    def _follow(self, own: int, told: list[str]) -> str:
        """Whom to follow, after a look around.

        Versions are read one after the other while changes go on: one that seems behind is so after a second look.

        Args:
            own: This server's version before it asked the others.
            told: Whom each of the others follows.
        """
        versions = self._versions(own)
        newest = self._newest(versions)
        votes = [name for name in [*told, self._followed] if name in versions]
        chosen = max(votes, key=votes.count, default="")
        if not chosen or votes.count(chosen) < self.needed:
            return newest
        was_doubted, self._is_doubted = self._is_doubted, versions[chosen] < versions[newest]
        return newest if was_doubted and self._is_doubted else chosen

    def look_around(self) -> None:
        """Ask every other server for its version; who leads brings those that are behind up to date."""
        answered: dict[str, int] = {}
        told: list[str] = []
        own = int(self.state["version"])
        for name in [n for n in self.members if n != self.name]:
            with contextlib.suppress(OSError, ValueError, KeyError, http.client.HTTPException):
                code, text = self.call(name, "GET", "/v1-k3s/peer/status", "", 1.5)
                if code == 200:
                    status = json.loads(text)
                    answered[name] = int(status["version"])
                    told.append(str(status["follows"]))
        self._answered = answered
        self._followed = self._follow(own, told)
        if self.leader() == self.name and self.has_quorum():
            with self.lock:
                for name in [n for n, version in answered.items() if version < self.state["version"]]:
                    self._hand_over(name, json.dumps(self.state))
                learned = [name for name in answered if self.members[name].pop("learner", None)]
                if learned:
                    self.save()

    @property
    def status(self) -> dict[str, Any]:
        """What the other servers ask for when they look around."""
        return {"version": self.state["version"], "name": self.name, "follows": self._followed}

    def call(self, name: str, method: str, path: str, body: str, timeout: float = 10) -> tuple[int, str]:
        """One request of another server."""
        parts = urlsplit(self.members[name]["url"])
        context = ssl.create_default_context(cafile=str(self._file.parents[1] / "tls" / "server-ca.crt"))
        context.check_hostname = False
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)
        secret = base64.b64encode(f"server:{self._password}".encode()).decode()
        try:
            connection.request(method, path, body, {"Authorization": f"Basic {secret}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def _hand_over(self, name: str, text: str) -> bool:
        try:
            return self.call(name, "POST", "/v1-k3s/peer/state", text, 3)[0] == 200
        except (OSError, http.client.HTTPException):
            self._answered.pop(name, None)
            return False

    def adopt(self, text: str) -> bool:
        """Take the state that the leading server hands over, if it is newer."""
        given = json.loads(text)
        with self.lock:
            if int(given["version"]) <= int(self.state["version"]):
                return False
            self.state = {**new_state(), **given}
            self._keep()
            return True

    def _keep(self) -> None:
        self._known = json.dumps(self.state)
        write_private(self._file, self._known)

    def save(self) -> None:
        """Make a change count; raises QuorumError, and forgets the change, where too few servers take it."""
        self.state["version"] = int(self.state["version"]) + 1
        others = [name for name in self.members if name != self.name]
        if others:
            text = json.dumps(self.state)
            taken = {name for name in others if name in self._answered and self._hand_over(name, text)}
            if len({self.name, *taken} & set(self.voters)) < self.needed:
                self.state = json.loads(self._known)
                raise QuorumError(LOST)
            for name in list(self._answered):
                self._answered[name] = int(self.state["version"])
        self._saved = int(self.state["version"])
        self._keep()

    def reset(self) -> None:
        """Make this server the only member, as ``--cluster-reset`` does."""
        self.state["members"] = {name: entry for name, entry in self.members.items() if name == self.name}
        self.state["version"] = int(self.state["version"]) + 1
        self._keep()
