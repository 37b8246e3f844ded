"""Copies the states of all deployments to another place, proves that nothing is missing, and switches over."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from orchestrator.errors import StateError, UsageError
from orchestrator.state.backend import VARIABLE, Backend, choice_file, choose, chosen_url, lock_of, open_backend
from orchestrator.state.document_store import DocumentStore
from orchestrator.state.model import State
from orchestrator.state.secret_store import open_secrets


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done.

    Attributes:
        source: Where the states were; they stay there as a backup.
        target: Where they are from now on.
        states: Every state that was copied and read back.
        overruled: Whether the variable DEPLOY_STATE still names another place.
    """

    source: str
    target: str
    states: tuple[State, ...]
    overruled: bool


def migrate(url: str, command: str, told: Callable[[str], None]) -> Migrated:
    """Copy every state with its secrets, read all of it back, and only then switch.

    A run that was cut off is simply repeated: what is there already, of the same lineage and not newer, is replaced.

    Args:
        url: Where to.
        command: What is being done, shown to whoever is refused meanwhile.
        told: Called with one line for each deployment.

    Raises:
        UsageError: If the URL means nothing, or is where the states are.
        LockedError: If somebody works on one of the deployments.
        StateError: If something else is there under one of the names, or cannot be read or written.
    """
    source, target = open_backend(), open_backend(url)
    if source.place == target.place:
        raise UsageError(
            "The states are there already.",
            detail=f"They are kept in {source.place}.",
            resolution="Name another place with --to.",
        )
    with ExitStack() as held:
        names = source.deployments()
        for name in names:
            held.enter_context(lock_of(name, source, target).acquire(command))
        states = tuple(_copy(name, source, target) for name in names)
        check = open_backend(url)
        try:
            for state in states:
                _check(state, source, check)
                told(
                    f"{state.deployment}: serial {state.serial}, {len(state.instances)} instances, read back and equal"
                )
        finally:
            check.close()
        choose(url)
    return Migrated(source.place, target.place, states, chosen_url() != url)


def _copy(name: str, source: Backend, target: Backend) -> State:
    state = source.state_store(name).load()
    if state is None:
        raise StateError(
            "The state is gone.",
            detail=f"{source.place} listed {name} and holds no state of it any longer.",
            resolution="Repeat the command.",
        )
    store = target.state_store(name)
    there = store.load()
    if there is not None and there.lineage != state.lineage:
        raise StateError(
            "Another deployment of that name is there.",
            detail=f"{target.place} holds {name} of lineage {there.lineage}, while the one to be copied is of lineage "
            f"{state.lineage}: they were begun apart. Nothing was switched.",
            resolution="Choose a place of its own (another prefix or schema), or destroy the one that is there first.",
        )
    if there is not None and there != state and there.serial >= state.serial:
        raise StateError(
            "A newer state is there.",
            detail=f"{target.place} holds {name} at serial {there.serial}, {source.place} at serial {state.serial}. "
            "Nothing was switched.",
            resolution=f"If the newer one counts, set {VARIABLE} to it, or write it to {choice_file()}. If not, put "
            f"this one in place there with `deploy state push --force`.",
        )
    if there != state:
        store.install(state)
    _seal_plain_secrets(name, source)
    _copy_document(source.secrets_document(name), target.secrets_document(name))
    return state


def _seal_plain_secrets(name: str, source: Backend) -> None:
    """Secrets that an older version left unencrypted lie on this host only; sealed they can be copied."""
    document = source.secrets_document(name)
    if document.read() is None:
        open_secrets(name, document).seal_plain()


def _copy_document(source: DocumentStore, target: DocumentStore) -> None:
    wanted, there = source.read(), target.read()
    if wanted is None:
        if there is not None:
            target.delete()
    elif there is None or there.content != wanted.content:
        target.write(wanted.content, there.version if there else "")


def _check(state: State, source: Backend, target: Backend) -> None:
    """Read everything back through a connection of its own and compare."""
    name = state.deployment
    wanted, there = source.secrets_document(name).read(), target.secrets_document(name).read()
    equal_secrets = (wanted.content if wanted else None) == (there.content if there else None)
    if target.state_store(name).load() == state and equal_secrets:
        return
    raise StateError(
        "What was copied does not read back the same.",
        detail=f"{'The state' if equal_secrets else 'The secrets document'} of {name} in {target.place} differs from "
        f"that in {source.place}. Nothing was switched.",
        resolution="See that nobody else writes there, then repeat the command.",
    )
