"""``k3s kubectl``."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from k3s_standin.api_client import CommandError, api_call, call_well
from k3s_standin.kinds import BUILT_IN, Kind, group_plural, names_of
from k3s_standin.printing import show
from k3s_standin.process import VERSION
from k3s_standin.taints import parse_taint


class Kubectl:
    """The part of kubectl that plays use: get, delete, apply, patch, label, taint, cordon, drain, uncordon, version."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._kinds: list[Kind] = []

    def run(self) -> int:
        """Do what was asked; the exit code."""
        verb = self._asked.verb
        if verb in {"cordon", "uncordon", "drain"}:
            return self._maintain(verb)
        run: dict[str, Callable[[], int]] = {
            "get": self._get, "delete": self._delete, "apply": self._apply, "patch": self._patch,
            "label": self._label, "annotate": self._label, "taint": self._taint, "version": self._version,
        }  # fmt: skip
        return run[verb]()

    # which objects

    def _all_kinds(self) -> list[Kind]:
        if not self._kinds:
            groups = ["v1", *(g["versions"][0]["groupVersion"] for g in call_well("GET", "/apis")["groups"])]
            for version in groups:
                prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
                for entry in call_well("GET", prefix)["resources"]:
                    if "/" not in entry["name"]:
                        short = tuple(entry["shortNames"])
                        self._kinds.append(Kind(version, entry["name"], entry["kind"], entry["namespaced"], short))
        return self._kinds

    def _kind(self, word: str) -> Kind:
        """The kind that somebody types: singular, plural, short, with its group or without."""
        name, _, group = word.lower().partition(".")
        known = [*BUILT_IN, *self._all_kinds()] if not any(name in names_of(k) for k in BUILT_IN) else BUILT_IN
        for kind in known:
            if name in names_of(kind) and (not group or group in {kind.version.rpartition("/")[0], kind.version}):
                return kind
        raise CommandError(f'error: the server doesn\'t have a resource type "{word}"')

    def _path(self, kind: Kind, name: str = "", namespace: str = "") -> str:
        inside = ""
        if kind.namespaced and not self._asked.all_namespaces:
            inside = f"/namespaces/{namespace or self._asked.namespace or 'default'}"
        return f"{kind.prefix}{inside}/{kind.plural}" + (f"/{name}" if name else "")

    def _from_files(self) -> Iterator[tuple[dict[str, Any], Kind | None, str]]:
        """Each object of the files with its kind, None if the server has none, and its path."""
        for file in self._asked.filename:
            text = sys.stdin.read() if file == "-" else Path(file).read_text()
            for value in read_manifest(text):
                details = value.get("metadata") or {}
                kind = next(
                    (k for k in self._all_kinds() if (k.version, k.name) == (value["apiVersion"], value["kind"])), None
                )
                yield (
                    value,
                    kind,
                    self._path(kind, details.get("name", ""), details.get("namespace", "")) if kind else "",
                )

    def _named(self) -> list[tuple[Kind, str]]:
        """Kind and path of what the arguments name: ``KIND NAME…`` or ``KIND/NAME…``."""
        words = [self._asked.kind, *self._asked.names]
        if "/" in words[0]:
            pairs = [word.partition("/")[::2] for word in words]
            return [(self._kind(kind), self._path(self._kind(kind), name)) for kind, name in pairs]
        kind = self._kind(words[0])
        return [(kind, self._path(kind, name)) for name in words[1:]]

    def _query(self) -> str:
        pairs = {"labelSelector": self._asked.selector, "fieldSelector": self._asked.field_selector}
        given = {name: value for name, value in pairs.items() if value}
        return f"?{urlencode(given)}" if given else ""

    # verbs

    def _get(self) -> int:
        if self._asked.raw:
            code, text = api_call("GET", self._asked.raw)
            if code >= 400:
                raise CommandError(f"Error from server: {text}")
            print(text)
            return 0
        values, complaints = self._read_from_files() if self._asked.filename else self._read_named()
        if values is not None:
            show(self._asked, values)
        for complaint in complaints:
            print(complaint, file=sys.stderr)
        return 1 if complaints else 0

    def _read_from_files(self) -> tuple[list[dict[str, Any]], list[str]]:
        values, complaints = [], []
        for value, kind, path in self._from_files():
            if kind is None:
                complaints.append(f"error: resource mapping not found: {no_match(value)}")
                continue
            try:
                values.append(call_well("GET", path))
            except CommandError as reason:
                if "(NotFound)" not in str(reason) or not self._asked.ignore_not_found:
                    complaints.append(str(reason))
        self._asked.listed = True
        return values, complaints

    def _read_named(self) -> tuple[list[dict[str, Any]] | None, list[str]]:
        kinds = self._asked.kind.split(",")
        if self._asked.names or "/" in self._asked.kind:
            values, complaints = [], []
            for _, path in self._named():
                try:
                    values.append(call_well("GET", path))
                except CommandError as reason:
                    if "(NotFound)" not in str(reason) or not self._asked.ignore_not_found:
                        complaints.append(str(reason))
            self._asked.listed = len(values) > 1
            return (values or None), complaints
        self._asked.listed = True
        values = []
        for kind in map(self._kind, kinds):
            items = call_well("GET", self._path(kind) + self._query())["items"]
            values += [{"apiVersion": kind.version, "kind": kind.name, **item} for item in items]
        return values, []

    def _delete(self) -> int:
        given = self._from_files() if self._asked.filename else (({}, kind, path) for kind, path in self._named())
        failed = 0
        for value, kind, path in given:
            if kind is None:
                if not self._asked.ignore_not_found:
                    print(
                        f"error: {no_match(value)}",
                        file=sys.stderr,
                    )
                    failed = 1
                continue
            try:
                call_well("DELETE", path)
                name = group_plural(kind).replace(kind.plural, kind.name.lower(), 1)
                print(f'{name} "{path.rpartition("/")[2]}" deleted')
            except CommandError as reason:
                if "(NotFound)" not in str(reason) or not self._asked.ignore_not_found:
                    print(reason, file=sys.stderr)
                    failed = 1
        return failed

    def _apply(self) -> int:
        for value, kind, path in list(self._from_files()):
            if kind is None:
                raise CommandError(f"error: {no_match(value)}")
            there = api_call("GET", path)[0] == 200
            call_well("PUT" if there else "POST", path if there else path.rpartition("/")[0], value)
            print(f"{kind.name.lower()}/{path.rpartition('/')[2]} {'configured' if there else 'created'}")
        return 0

    def _patch(self) -> int:
        for kind, path in self._named():
            call_well("PATCH", path, json.loads(self._asked.patch))
            print(f"{kind.name.lower()}/{path.rpartition('/')[2]} patched")
        return 0

    def _label(self) -> int:
        """``label KIND NAME key=value key-``."""
        place = "labels" if self._asked.verb == "label" else "annotations"
        changes = [w for w in self._asked.names if "=" in w or w.endswith("-")]
        self._asked.names = [w for w in self._asked.names if w not in changes]
        for kind, path in self._named():
            wanted: dict[str, str | None] = {w[:-1]: None for w in changes if "=" not in w}
            wanted.update(dict(w.partition("=")[::2] for w in changes if "=" in w))
            known = call_well("GET", path)["metadata"].get(place) or {}
            clashing = [k for k, v in wanted.items() if v and known.get(k, v) != v]
            if clashing and not self._asked.overwrite:
                raise CommandError(
                    f"error: '{clashing[0]}' already has a value ({known[clashing[0]]}), and --overwrite is false"
                )
            changed = any(known.get(k) != v for k, v in wanted.items())
            if changed:
                call_well("PATCH", path, {"metadata": {place: wanted}})
            done = ("" if changed else "not ") + ("labeled" if place == "labels" else "annotated")
            print(f"{kind.name.lower()}/{path.rpartition('/')[2]} {done}")
        return 0

    def _taint(self) -> int:
        """``taint nodes NAME key=value:Effect key:Effect- key-``."""
        changes = [w for w in self._asked.names if ":" in w or w.endswith("-")]
        self._asked.names = [w for w in self._asked.names if w not in changes]
        for _, path in self._named():
            taints = call_well("GET", path)["spec"].get("taints", [])
            for word in changes:
                taint = parse_taint(word.rstrip("-")) if ":" in word else {"key": word.rstrip("-"), "effect": ""}
                same = [t for t in taints if t["key"] == taint["key"] and taint["effect"] in {"", t["effect"]}]
                if word.endswith("-"):
                    if not same:
                        raise CommandError(f'error: taint "{word.rstrip("-")}" not found')
                    taints = [t for t in taints if t not in same]
                elif same and same[0] != taint and not self._asked.overwrite:
                    raise CommandError(
                        f"error: node {path.rpartition('/')[2]} already has {taint['key']} taint(s) with same "
                        "effect(s) and --overwrite is false"
                    )
                else:
                    taints = [*(t for t in taints if t not in same), taint]
            call_well("PATCH", path, {"spec": {"taints": taints}})
            print(
                f"node/{path.rpartition('/')[2]} {'untainted' if all(w.endswith('-') for w in changes) else 'tainted'}"
            )
        return 0

    def _version(self) -> int:
        print(f"Client Version: {VERSION}\nServer Version: {call_well('GET', '/version')['gitVersion']}")
        return 0

    def _maintain(self, verb: str) -> int:
        node_kind = BUILT_IN[0]
        for word in [self._asked.kind, *self._asked.names]:
            name = word.removeprefix("node/")
            path = self._path(node_kind, name)
            is_cordoned = bool(call_well("GET", path)["spec"].get("unschedulable"))
            wanted = verb != "uncordon"
            if is_cordoned != wanted:
                call_well("PATCH", path, {"spec": {"unschedulable": wanted or None}})
            print(f"node/{name} {'' if is_cordoned != wanted else 'already '}{'cordoned' if wanted else 'uncordoned'}")
            if verb == "drain":
                self._drain(name)
        return 0

    def _drain(self, name: str) -> None:
        listed = call_well("GET", f"/api/v1/pods?{urlencode({'fieldSelector': f'spec.nodeName={name}'})}")["items"]
        owners = {p["metadata"]["uid"]: [o["kind"] for o in p["metadata"].get("ownerReferences", [])] for p in listed}
        daemons = [p for p in listed if "DaemonSet" in owners[p["metadata"]["uid"]]]
        if daemons and not self._asked.ignore_daemonsets:
            names = ", ".join(f"{p['metadata']['namespace']}/{p['metadata']['name']}" for p in daemons)
            raise CommandError(
                f'error: unable to drain node "{name}" due to error: cannot delete DaemonSet-managed Pods (use '
                f"--ignore-daemonsets to ignore): {names}, continuing command..."
            )
        end = time.monotonic() + (parse_duration(self._asked.timeout) or float("inf"))
        for pod in [p for p in listed if p not in daemons]:
            namespace, pod_name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            print(f"evicting pod {namespace}/{pod_name}", flush=True)
            path = f"/api/v1/namespaces/{namespace}/pods/{pod_name}/eviction"
            while (answer := api_call("POST", path, {}))[0] == 429:
                why = json.loads(answer[1])["message"]
                print(
                    f'error when evicting pods/"{pod_name}" -n "{namespace}" (will retry after 5s): {why}',
                    file=sys.stderr,
                )
                if time.monotonic() + 1 >= end:
                    raise CommandError(
                        f'error: unable to drain node "{name}" due to error: error when evicting pods/"{pod_name}" -n '
                        f'"{namespace}": global timeout reached: {self._asked.timeout}, continuing command...'
                    )
                time.sleep(1)
        print(f"node/{name} drained")


def read_manifest(text: str) -> list[dict[str, Any]]:
    """Every object of a manifest; what cannot be read ends the command."""
    from k3s_standin.manifests import parse_manifest  # noqa: PLC0415 - most commands read none
    from k3s_standin.scalars import YamlError  # noqa: PLC0415 - the same

    try:
        return parse_manifest(text)
    except YamlError as reason:
        raise CommandError(str(reason)) from reason


def no_match(value: dict[str, Any]) -> str:
    """What is said of an object whose kind the server does not know."""
    return f'no matches for kind "{value["kind"]}" in version "{value["apiVersion"]}"'


def parse_duration(text: str) -> float:
    """``1m30s`` as seconds; 0 if there is none."""
    found = re.findall(r"([0-9.]+)(ms|h|m|s)", text)
    return sum(float(number) * {"h": 3600, "m": 60, "s": 1, "ms": 0.001}[unit] for number, unit in found)


def kubectl(arguments: list[str]) -> int:
    """Take kubectl's command line apart and do it."""
    parser = argparse.ArgumentParser(prog="k3s kubectl")
    verbs = ["get", "delete", "apply", "patch", "label", "annotate", "taint", "cordon", "uncordon", "drain", "version"]
    parser.add_argument("verb", choices=verbs)
    parser.add_argument("kind", nargs="?", default="")
    parser.add_argument("names", nargs="*")
    parser.add_argument("-n", "--namespace", default="")
    parser.add_argument("-A", "--all-namespaces", action="store_true")
    parser.add_argument("-o", "--output", default="")
    parser.add_argument("-l", "--selector", default="")
    parser.add_argument("-f", "--filename", action="append", default=[])
    parser.add_argument("-p", "--patch", default="{}")
    for name in ("field-selector", "raw", "request-timeout", "type", "timeout", "grace-period", "kubeconfig"):
        parser.add_argument(f"--{name}", default="")
    switches = (
        "no-headers", "ignore-not-found", "wait", "overwrite", "ignore-daemonsets", "delete-emptydir-data", "force",
        "now", "client", "disable-eviction", "server-side", "force-conflicts",
    )  # fmt: skip
    for name in switches:
        parser.add_argument(f"--{name}", action="store_true")
    named = "|".join(switches)
    # A pod's removal is `key-`, which argparse would take for an option's value; a switch may be spelled =true.
    words = [re.sub(rf"^(--(?:{named}))=true$", r"\1", word) for word in arguments]
    asked = parser.parse_intermixed_args([w for w in words if not re.fullmatch(rf"--(?:{named})=false", w)])
    asked.listed = False
    if asked.kubeconfig:
        os.environ["KUBECONFIG"] = asked.kubeconfig
    try:
        return Kubectl(asked).run()
    except CommandError as reason:
        print(reason, file=sys.stderr)
    except (OSError, http.client.HTTPException) as reason:
        print(f"The connection to the server was refused - {reason}", file=sys.stderr)
    return 1
