"""Finds at clouds what is tagged as ours and no state knows, and removes it when told to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.errors import DeployError, UsageError
from orchestrator.providers.base import Cloud, DeploymentTag, Owned
from orchestrator.providers.registry import PROVIDERS, is_cloud, load_provider
from orchestrator.services.at_once import all_at_once
from orchestrator.services.provider_names import providers_of
from orchestrator.state.backend import choice_file, chosen_url, open_backend
from orchestrator.state.durable_file import read_if_there

PATIENCE = 60.0
"""Seconds in which all places have to answer."""


@dataclass(frozen=True, slots=True)
class Group:
    """What one deployment left at one place.

    Attributes:
        provider: Provider with its place.
        deployment: Whose it was.
        things: All of it.
    """

    provider: str
    deployment: DeploymentTag
    things: tuple[Owned, ...]

    @property
    def created(self) -> str:
        """When the oldest of it was made, as far as that is known; else empty."""
        return min((owned.resource.created for owned in self.things if owned.resource.created), default="")


@dataclass(frozen=True, slots=True)
class Left:
    """Something that could not be removed, and why."""

    provider: str
    owned: Owned
    reason: str


@dataclass(frozen=True, slots=True)
class KnownStates:
    """What the states in reach say.

    Attributes:
        lineages: Those of all states.
        providers: Clouds, with places, that any of them names.
        unreadable: Name of every deployment whose state cannot be read, with the reason; nothing called so is touched.
    """

    lineages: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    unreadable: Mapping[str, str] = field(default_factory=dict)

    def knows(self, deployment: DeploymentTag) -> bool:
        """Whether it may be in use."""
        return deployment.lineage in self.lineages or deployment.name in self.unreadable


@dataclass(frozen=True, slots=True)
class Sweep:
    """What was found.

    Attributes:
        providers: Which were asked.
        groups: What no state knows, by place and deployment.
        failed: Providers that could not be asked, with the reason.
        known: What the states say.
    """

    providers: tuple[str, ...]
    groups: tuple[Group, ...]
    failed: Mapping[str, str]
    known: KnownStates


def known_states() -> KnownStates:
    """What every state says that this program finds from here: the chosen back-end's and those in the folder.

    Raises:
        StateError: If a back-end cannot be asked: what it knows might be taken for nobody's.
    """
    written = (read_if_there(choice_file()) or b"").decode("utf-8", "replace").strip()
    lineages: set[str] = set()
    providers: set[str] = set()
    unreadable: dict[str, str] = {}
    for url in dict.fromkeys((chosen_url(), written, "")):
        backend = open_backend(url)
        try:
            for name in backend.deployments():
                try:
                    state = backend.state_store(name).load()
                except DeployError as reason:
                    unreadable[name] = f"{reason.summary} {reason.detail}".strip()
                    continue
                if state is not None:
                    lineages.add(state.lineage)
                    providers.update(filter(is_cloud, providers_of(state)))
        finally:
            backend.close()
    return KnownStates(frozenset(lineages), frozenset(providers), unreadable)


def find_unknown(asked: Sequence[str] = (), seconds: float = PATIENCE) -> Sweep:
    """Look for what no state knows.

    Args:
        asked: Providers with places; without any those that the states name.
        seconds: Bound on all answers together.

    Raises:
        UsageError: If there is no place to look at, or a name is no cloud.
        StateError: If not all states can be asked.
    """
    wrong = [name for name in asked if not (is_cloud(name) and name.partition("/")[2])]
    if wrong:
        clouds = ", ".join(f"{name}/PLACE" for name in sorted(PROVIDERS) if is_cloud(name)) or "none"
        raise UsageError(
            "No such cloud.",
            detail=f"{', '.join(wrong)} was given, which is no cloud with its place; this version has: {clouds}.",
            resolution="Name a cloud with its place, for example aws/eu-central-1.",
        )
    known = known_states()
    providers = tuple(sorted(asked or known.providers))
    if not providers:
        raise UsageError(
            "No cloud is named.",
            detail="No state names a cloud, so that nothing says where to look.",
            resolution="Name it with its place: --provider aws/eu-central-1.",
        )
    groups: list[Group] = []
    failed: dict[str, str] = {}
    answers = all_at_once({name: _Owned(name) for name in providers}, seconds)
    for name, answer in answers.items():
        if isinstance(answer, DeployError):
            failed[name] = f"{answer.summary} {answer.detail} {answer.resolution}".strip()
        elif isinstance(answer, BaseException):
            raise answer
        elif answer is None:
            failed[name] = f"It did not answer within {seconds:g} s."
        else:
            groups += _groups(name, (o for o in answer if not known.knows(o.deployment)))
    return Sweep(providers, tuple(groups), failed, known)


def remove_unknown(found: Sweep) -> tuple[Left, ...]:
    """Remove what was found, unless a state knows of it by now; what is left afterwards, with the reasons."""
    known = known_states()
    left: list[Left] = []
    for name in dict.fromkeys(group.provider for group in found.groups):
        mine = [o for g in found.groups if g.provider == name for o in g.things if not known.knows(o.deployment)]
        lineages = {owned.deployment for owned in mine}
        try:
            reasons = _cloud(name).remove(mine)
            still = [owned for owned in _cloud(name).owned() if owned.deployment in lineages]
        except DeployError as cause:
            reasons = {owned.resource.id: f"{cause.summary} {cause.detail}".strip() for owned in mine}
            still = mine
        left += [Left(name, owned, reasons.get(owned.resource.id, "It is still listed.")) for owned in still]
    return tuple(left)


class _Owned:
    """Asks a provider what is ours there."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self) -> Sequence[Owned]:
        return _cloud(self._name).owned()


def _cloud(name: str) -> Cloud:
    provider = load_provider(name)
    assert isinstance(provider, Cloud), "only clouds are asked"  # noqa: S101
    return provider


def _groups(provider: str, things: Iterable[Owned]) -> Iterator[Group]:
    by_deployment: dict[DeploymentTag, list[Owned]] = {}
    for owned in things:
        by_deployment.setdefault(owned.deployment, []).append(owned)
    for deployment, members in sorted(by_deployment.items(), key=lambda item: (item[0].name, item[0].lineage)):
        yield Group(provider, deployment, tuple(members))
