"""Entry point of ``deploy``: finds the command, runs it, and turns errors into messages and exit codes."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from importlib import import_module

from orchestrator import __version__
from orchestrator.cli.console import Console
from orchestrator.errors import DeployError

COMMANDS = {
    "validate": "check a production file or a compiled template",
    "compile": "write the TOSCA service template",
    "inventory": "print the Ansible inventory, for playbooks by hand",
    "doctor": "look at what an apply needs, machines included, before it",
    "plan": "show what apply would change, and why",
    "apply": "make it so",
    "rollback": "go back to what was applied completely before",
    "status": "show every node instance as found now",
    "invoke": "send a file through the pipeline and bring back the result",
    "ssh": "open a shell on a machine",
    "manifest": "print the endpoints manifest",
    "runs": "list the runs of a deployment with their outcome",
    "events": "read again what happened during a run, or follow it",
    "state": "look at the state, mend it by hand, keep it elsewhere",
    "graph": "draw the topology",
    "secrets": "list, show, set and rotate the secrets of a deployment",
    "schema": "print the JSON Schema of an input file, for editors",
    "import": "take over a machine of a cloud that was made by hand",
    "sweep": "list, and remove, what no state knows at clouds",
    "destroy": "remove everything that apply created",
}
"""Command name to one-line help; the module is imported only when the command is called."""

_MODULES = {"import": "adopt"}
"""Modules that cannot be called like their command."""

_ALLOCATIONS = 50_000
"""How many objects are made between two looks for garbage in circles; Python's 700 cost 5 % of a large plan."""


def build_overview() -> argparse.ArgumentParser:
    """The parser that knows the commands' names, for ``deploy --help`` and wrong usage."""
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:{width}}  {text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="deploy",
        description="Deploy AI applications over edge and cloud from their production file.",
        epilog=f"commands:\n{listing}\n\n`deploy COMMAND --help` tells more about one of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"deploy {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0 ok, 1 failed, 2 invalid input or usage, 3 changes, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] not in COMMANDS:
        build_overview().parse_args(arguments or ["--help"])
        return 2
    gc.set_threshold(_ALLOCATIONS, 20, 20)
    name = arguments[0]
    module = import_module(f"orchestrator.cli.commands.{_MODULES.get(name, name)}")
    parser = argparse.ArgumentParser(prog=f"deploy {name}", description=(module.__doc__ or COMMANDS[name]).strip())
    module.configure(parser)
    args = parser.parse_args(arguments[1:])
    console = Console(arguments)
    try:
        code: int = module.run(args, console)
    except DeployError as error:
        console.show_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        console.progress("Interrupted; nothing was being changed.")
        return 130
    except BrokenPipeError:
        console.drop_stdout()
        return 1
    finally:
        console.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
