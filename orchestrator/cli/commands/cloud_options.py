"""What the command line says of machines of clouds: whether it can be understood, and whether it takes effect."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError
from orchestrator.topology.reading import did_you_mean

if TYPE_CHECKING:
    from orchestrator.planning.planner import Wanted

VIRTUAL_MACHINE = "continuum.nodes.VirtualMachine"
CLOUD_OPTIONS = (
    "provider",
    "ssh_from",
    "public_addresses",
    "network",
    "subnet",
    "zone",
    "key_name",
    "data_volume",
    "tags",
)
_AT_PLACES = ("network", "subnet", "zone", "key_name", "data_volume")
"""Those that may be told for each place by itself."""

_OURS = "continuum:"
_MOST_GB = 65536
"""More than the largest volume that a cloud sells."""


def add_clouds(parser: argparse.ArgumentParser) -> None:
    """Which clouds make machines, who reaches them, and what network they are in."""
    group = parser.add_argument_group("machines of clouds (docs/clouds.md)")
    group.add_argument(
        "--provider",
        metavar="CLOUD/PLACE",
        action="append",
        help="who makes machines whose images do not say it, e.g. aws/eu-central-1 (or LAYER|RESOURCE=CLOUD/PLACE,…)",
    )
    group.add_argument("--ssh-from", metavar="CIDR,…", help="networks from which SSH is let in, e.g. 203.0.113.7/32")
    group.add_argument(
        "--public-addresses",
        choices=("front", "all", "none"),
        help="which machines are reached from outside: the first of each resource (default), all, none",
    )
    group.add_argument("--network", metavar="ID", help="network of your own to put them into (or PROVIDER=ID,…)")
    group.add_argument("--subnet", metavar="ID", help="subnet of that network (or PROVIDER=ID,…)")
    group.add_argument("--zone", metavar="ZONE", help="zone to make them in (or PROVIDER=ZONE,…)")
    group.add_argument("--key-name", metavar="NAME", help="key pair of your own at the cloud (or PROVIDER=NAME,…)")
    group.add_argument("--data-volume", metavar="GB", help="an empty volume for each of them (or PROVIDER=GB,…)")
    group.add_argument("--tags", metavar="NAME=VALUE,…", help="further tags of what is made")


def given_for_clouds(args: argparse.Namespace) -> dict[str, str]:
    """The options that were given, an empty text where one is to be forgotten."""
    given = {name: getattr(args, name, None) for name in CLOUD_OPTIONS}
    return {name: ",".join(v) if isinstance(v, list) else v for name, v in given.items() if v is not None}


def words_of(names: Iterable[str]) -> str:
    """Options as they are typed."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def understood(given: Mapping[str, str]) -> dict[str, str]:
    """The options, networks in the form in which clouds tell them; who makes machines is looked at elsewhere.

    Raises:
        UsageError: If something cannot be understood; all of it at once.
    """
    wrong = [reason for name, text in given.items() for reason in _wrong(name, text)]
    if wrong:
        raise UsageError(
            "An option of clouds cannot be understood.",
            detail="\n".join(dict.fromkeys(wrong)),
            resolution="Correct it; an empty text (`--tags ''`) forgets what an earlier apply was told.",
        )
    if "ssh_from" not in given:
        return dict(given)
    networks = dict.fromkeys(str(ip_network(entry)) for entry in _entries(given["ssh_from"]))
    return {**given, "ssh_from": ",".join(networks)}


def check_effect(args: argparse.Namespace, wanted: Wanted) -> None:
    """See that every option concerns a machine.

    Args:
        args: The arguments.
        wanted: What is to be applied, under its profile.

    Raises:
        UsageError: If one concerns none.
    """
    if getattr(args, "refresh_only", False) and given_for_clouds(args):
        raise UsageError(
            "--refresh-only takes over what is found.",
            detail=f"It changes no machine, so that nothing is done with {words_of(given_for_clouds(args))}.",
            resolution="Leave one of them out.",
        )
    given = {name: text for name, text in given_for_clouds(args).items() if text}
    places = {i.provider for i in wanted.instances.values() if i.type == VIRTUAL_MACHINE}
    if given and not places:
        raise UsageError(
            "This option is for machines of clouds.",
            detail=f"No cloud makes any machine of this deployment, so that nothing is done with {words_of(given)}.",
            resolution="Leave it out.",
        )
    wrong = [
        f"{words_of([name])} has {entry!r}, and {place} makes no machine of this deployment."
        + did_you_mean(place, places)
        for name in _AT_PLACES
        for entry, place in ((e, e.rpartition("=")[0].strip()) for e in _entries(given.get(name, "")))
        if place and place not in places
    ]
    if wrong:
        raise UsageError(
            "An option concerns no machine.",
            detail="\n".join(wrong),
            resolution=f"Machines are made by {', '.join(sorted(places))}: name one of them, or leave it out.",
        )


def _entries(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _wrong(name: str, text: str) -> Iterator[str]:
    """What is wrong with an option, in full sentences."""
    option, entries = words_of([name]), _entries(text)
    if text and not entries:
        yield f"{option} has {text!r}, in which there is nothing."
    if name == "ssh_from":
        for entry in entries:
            yield from _wrong_network(entry)
    elif name == "tags":
        yield from _wrong_tags(entries)
    elif name in _AT_PLACES:
        yield from _wrong_at_places(option, entries)
        for entry in entries if name == "data_volume" else ():
            size = entry.rpartition("=")[2].strip()
            if not (size.isascii() and size.isdigit() and 0 < int(size) <= _MOST_GB):
                yield (
                    f"--data-volume has {entry!r}; {size!r} is no whole number of GB from 1 to {_MOST_GB}. Write it as "
                    "100 or aws/eu-central-1=100."
                )


def _wrong_network(entry: str) -> Iterator[str]:
    try:
        ip_network(entry)
    except ValueError as reason:
        try:
            near = f"{ip_network(entry, strict=False)}, or one computer's address alone"
        except ValueError:
            near = "address/bits, for example 203.0.113.7/32 for one computer"
        yield f"--ssh-from has {entry!r}, which is no network ({reason}). Write {near}."


def _wrong_tags(entries: list[str]) -> Iterator[str]:
    names: list[str] = []
    for entry in entries:
        name, equals, _ = (part.strip() for part in entry.partition("="))
        if not (name and equals):
            yield f"--tags has {entry!r}. Write NAME=VALUE,NAME=VALUE, for example team=vision,cost-centre=17."
        elif name.casefold().startswith(_OURS):
            yield f"--tags has {entry!r}. What begins with {_OURS} says whose a machine is, and is set by this program."
        elif name in names:
            yield f"--tags has {name!r} more than once."
        names.append(name)


def _wrong_at_places(option: str, entries: list[str]) -> Iterator[str]:
    places: list[str] = []
    for entry in entries:
        place, equals, value = (part.strip() for part in entry.rpartition("="))
        if not value or (equals and ("/" not in place or "=" in place)):
            yield f"{option} has {entry!r}. Write a value, or PROVIDER=VALUE, for example aws/eu-central-1=VALUE."
        elif place in places:
            where = f"for {place}" if place else "without a provider"
            yield f"{option} has more than one value {where}, and only one can hold."
        places.append(place)
