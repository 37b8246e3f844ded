"""Look at the state of deployments, take it out and put it back, mend it by hand, move it to another place."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from orchestrator.cli.commands import options
from orchestrator.cli.console import Console
from orchestrator.errors import UsageError
from orchestrator.state.folders import deployment_folder, find_deployment
from orchestrator.state.model import State


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    found = _action(actions, "list", "list what the state holds")
    options.add_name(found)
    found.add_argument("--all", action="store_true", help="list the deployments instead, and who works on them")
    _add_json(found)

    found = _action(actions, "show", "show everything that is known of one instance")
    found.add_argument("address", metavar="ADDRESS", help="its address, as `deploy state list` shows it")
    options.add_name(found)
    _add_json(found)

    found = _action(actions, "pull", "print the whole state as JSON; it holds no secret value")
    options.add_name(found)

    found = _action(actions, "push", "put a state that was pulled in place of the one that is kept")
    found.add_argument("file", metavar="FILE", type=Path, help="what `deploy state pull` printed; - for standard input")
    options.add_name(found)
    found.add_argument("--force", action="store_true", help="even if it does not follow what is kept")
    _add_approval(found)

    found = _action(actions, "mv", "give an instance another address; nothing outside changes")
    found.add_argument("source", metavar="FROM", help="its address")
    found.add_argument("target", metavar="TO", help="its new address")
    options.add_name(found)

    found = _action(actions, "rm", "forget an instance; the thing itself stays where it is")
    found.add_argument("address", metavar="ADDRESS", help="its address")
    options.add_name(found)
    _add_approval(found)

    found = _action(actions, "unlock", "take the lock away from a run that is gone")
    found.add_argument("name", metavar="NAME", help="deployment")
    _add_approval(found)

    found = _action(actions, "migrate", "copy all states to another place, compare, and keep them there from now on")
    found.add_argument("--to", metavar="URL", required=True, help="file:, s3://BUCKET/PREFIX or postgresql://HOST/DB")
    _add_approval(found)
    _add_json(found)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    return _ACTIONS[args.action](args, console)


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    return actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def _add_approval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--auto-approve", action="store_true", help="do not ask (needed without a terminal)")


def _state(args: argparse.Namespace, console: Console) -> State:
    opened = options.open_named(args.name, console)
    if opened.state is None:
        raise UsageError("There is nothing in the state.", detail=f"{opened.name} holds no instance.")
    return opened.state


def _approved(args: argparse.Namespace, console: Console, question: str) -> bool:
    if options.approve(args, console, question):
        return True
    console.progress("Nothing was changed.")
    return False


def _list(args: argparse.Namespace, console: Console) -> int:
    from orchestrator.cli.views import state as views  # noqa: PLC0415 - loads what `--help` does not need
    from orchestrator.services.state import known_deployments  # noqa: PLC0415 - the same

    if args.all:
        place, known = known_deployments()
        show = views.deployments_to_json if args.json else views.render_deployments
        console.result(show(place, known))
        return 0
    state = _state(args, console)
    console.result(views.instances_to_json(state) if args.json else views.render_instances(state))
    return 0


def _show(args: argparse.Namespace, console: Console) -> int:
    from orchestrator.cli.views import state as views  # noqa: PLC0415 - the same
    from orchestrator.services.state import find_instance  # noqa: PLC0415 - the same

    state = _state(args, console)
    record = find_instance(state, args.address)
    console.result(views.instance_to_text(state, record) if args.json else views.render_instance(record))
    return 0


def _pull(args: argparse.Namespace, console: Console) -> int:
    from orchestrator.cli.views.state import render_state  # noqa: PLC0415 - the same
    from orchestrator.services.state import state_to_json  # noqa: PLC0415 - the same

    console.result(render_state(state_to_json(_state(args, console))))
    return 0


def _push(args: argparse.Namespace, console: Console) -> int:
    from orchestrator.services.state import push_state, state_from_json  # noqa: PLC0415 - the same

    pushed = state_from_json(_text(args.file), "standard input" if str(args.file) == "-" else str(args.file))
    if args.name and args.name != pushed.deployment:
        raise UsageError(
            "The state is of another deployment.",
            detail=f"It says of itself that it is {pushed.deployment}, not {args.name}.",
            resolution="Name that one, or give the other state.",
        )
    deployment_folder(pushed.deployment)
    question = f"Put this state of {len(pushed.instances)} instances in place of the one of {pushed.deployment}?"
    if not _approved(args, console, question):
        return 1
    done = push_state(pushed, console.command_line, force=args.force)
    kept = f" What was there is kept in {done.backup}." if done.backup else ""
    console.result(f"{done.after.deployment} is at serial {done.after.serial} now.{kept}")
    return 0


def _text(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise UsageError(
            "The state cannot be read.", detail=f"{path}: {cause}.", resolution="Give a file that can be read."
        ) from cause


def _mv(args: argparse.Namespace, console: Console) -> int:
    from orchestrator.services.state import move_instance  # noqa: PLC0415 - the same

    name = find_deployment(args.name)
    move_instance(name, args.source, args.target, console.command_line)
    console.result(
        f"{args.source} is {args.target} now. If the production file calls it otherwise, the next plan removes it: see "
        "`deploy plan` first."
    )
    return 0


def _rm(args: argparse.Namespace, console: Console) -> int:
    from orchestrator.cli.views.state import render_instance  # noqa: PLC0415 - the same
    from orchestrator.services.state import dependants_of, find_instance, forget_instance  # noqa: PLC0415 - the same

    opened = options.open_named(args.name, console)
    state = opened.session.state
    record = find_instance(state, args.address)
    console.progress(render_instance(record))
    dependants = dependants_of(state, record.address)
    if dependants:
        console.progress(f"Warning: {', '.join(dependants)} {'need' if len(dependants) > 1 else 'needs'} it.")
    console.progress(
        "Warning: only the record goes. What it stands for stays where it is, may cost money, and is not removed by "
        "`deploy destroy`."
    )
    if not _approved(args, console, f"Forget {record.address} of {opened.name}?"):
        return 1
    after = forget_instance(opened.name, record.address, console.command_line)
    console.result(f"{record.address} is forgotten; {opened.name} is at serial {after.serial} now.")
    return 0


def _unlock(args: argparse.Namespace, console: Console) -> int:
    from orchestrator.services.state import break_lock, read_lock  # noqa: PLC0415 - the same
    from orchestrator.state.shared_lock import age_of  # noqa: PLC0415 - the same

    holder = read_lock(args.name)
    if holder is None:
        console.result(f"{args.name} is not locked.")
        return 0
    console.progress(
        f"{args.name} is locked by process {holder.pid} of {holder.user} on {holder.host}: `{holder.command}`, since "
        f"{holder.since} ({age_of(holder)}){f', run {holder.run}' if holder.run else ''}.\n"
        "If that run, or a play it started, is still at work, two runs will change the same machines."
    )
    if not _approved(args, console, "Take the lock away from it?"):
        return 1
    break_lock(args.name, holder, console.command_line)
    console.result(f"{args.name} is unlocked. The next apply finds out what the other run had begun, and goes on.")
    return 0


def _migrate(args: argparse.Namespace, console: Console) -> int:
    from orchestrator.cli.views.state import migrated_to_json  # noqa: PLC0415 - the same
    from orchestrator.services.migrate import migrate  # noqa: PLC0415 - the same
    from orchestrator.state.backend import open_backend  # noqa: PLC0415 - the same

    source, target = open_backend(), open_backend(args.to)
    names = ", ".join(source.deployments()) or "no deployment"
    console.progress(f"From {source.place} to {target.place}: {names}.")
    source.close()
    target.close()
    if not _approved(args, console, "Copy them, and keep the states there from now on?"):
        return 1
    migrated = migrate(args.to, console.command_line, console.progress)
    if migrated.overruled:
        console.progress(f"Warning: DEPLOY_STATE still names another place. Set it to {args.to}, or unset it.")
    text = f"States are kept in {migrated.target} now. What is in {migrated.source} stays there and is used no longer."
    console.result(migrated_to_json(migrated) if args.json else text)
    return 0


_ACTIONS = {
    "list": _list,
    "show": _show,
    "pull": _pull,
    "push": _push,
    "mv": _mv,
    "rm": _rm,
    "unlock": _unlock,
    "migrate": _migrate,
}
