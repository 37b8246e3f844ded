"""List, show, set and rotate the secrets of a deployment. No value is ever taken from the command line."""

from __future__ import annotations

import argparse
import sys

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.cli.running import working
from orchestrator.cli.views.secrets import render_rotated, render_secrets, secrets_to_json
from orchestrator.errors import UsageError
from orchestrator.services.deployment import open_for_reading
from orchestrator.services.secrets import fresh_key, list_secrets, read_secret, rotate_secrets, set_secret
from orchestrator.state.folders import deployment_folder, find_deployment

_LARGEST_INPUT = 64 * 1024


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parsers = parser.add_subparsers(dest="task", metavar="list|show|set|rotate|new-key", required=True)
    listing = parsers.add_parser("list", help="names, where they come from, who uses them")
    listing.add_argument("--json", action="store_true", help="print JSON")
    show = parsers.add_parser("show", help="print one value")
    show.add_argument("secret", metavar="SECRET", help="name of the secret")
    show.add_argument("--reveal", action="store_true", help="print it although standard output is no terminal")
    give = parsers.add_parser("set", help="store a value, or a reference that is looked up when it is needed")
    give.add_argument("secret", metavar="SECRET", help="name of the secret")
    give.add_argument(
        "--from", dest="source", metavar="SOURCE", required=True, help="env:NAME, file:PATH, or - for standard input"
    )
    rotate = parsers.add_parser("rotate", help="make a new value, which the next apply brings to whoever uses it")
    rotate.add_argument("secret", metavar="SECRET", nargs="?", help="name of the secret")
    rotate.add_argument("--all", action="store_true", help="every secret that can be rotated")
    rotate.add_argument("--key", action="store_true", help="seal the secrets anew with a new key; values stay")
    for part in (listing, show, give, rotate):
        part.add_argument("--of", dest="name", metavar="NAME", help="deployment (default: the only one there is)")
    parsers.add_parser("new-key", help="print a fresh key for DEPLOY_SECRETS_KEY or a key file")


def run(args: argparse.Namespace, console: Console) -> int:
    """Do what is asked for."""
    if args.task == "list":
        opened = options.open_named(args.name, console)
        found = list_secrets(opened.secrets, opened.state)
        console.result(secrets_to_json(opened.name, found) if args.json else render_secrets(found))
    elif args.task == "show":
        _show(args, console)
    elif args.task == "set":
        _set(args, console)
    elif args.task == "rotate":
        _rotate(args, console)
    else:
        console.result(fresh_key())
    return 0


def _show(args: argparse.Namespace, console: Console) -> None:
    """The one way for a value to get out: past the mask, to a person or to who has asked for it in so many words."""
    if not (sys.stdout.isatty() or args.reveal):
        raise UsageError(
            "A secret would be written to a file or a pipe.",
            detail="Standard output is no terminal.",
            resolution="If that is what you want, add --reveal.",
        )
    opened = options.open_named(args.name, console)
    value = read_secret(opened.secrets, args.secret)
    sys.stdout.write(value if value.endswith("\n") else value + "\n")
    sys.stdout.flush()


def _set(args: argparse.Namespace, console: Console) -> None:
    piped = sys.stdin.buffer.read(_LARGEST_INPUT) if args.source == "-" else b""
    # A secret may be given before the first apply, when there is no state yet.
    name = args.name if args.name and not _is_known(args.name) else find_deployment(args.name)
    with working(name, args, console) as opened:
        use = set_secret(opened.secrets, opened.state, args.secret, args.source, piped)
    console.result(f"{name}: {use.secret.name} is {'looked up' if use.secret.kind == 'reference' else 'kept'}.")
    if use.waiting:
        console.result(f"The next apply brings it to {', '.join(use.waiting)}.")


def _rotate(args: argparse.Namespace, console: Console) -> None:
    if (args.secret is not None) + args.all + args.key != 1:
        raise UsageError("Say what to rotate.", detail="deploy secrets rotate takes one of SECRET, --all and --key.")
    name = find_deployment(args.name)
    with working(name, args, console) as opened:
        if args.key:
            key = opened.secrets.rotate_key()
            console.result(f"{name}: the secrets are sealed with the key {key} now. Older keys were kept to read with.")
            return
        rotated = rotate_secrets(opened.secrets, opened.state, args.secret)
    console.result(render_rotated(name, rotated))


def _is_known(name: str) -> bool:
    deployment_folder(name)
    return open_for_reading(name).state is not None
