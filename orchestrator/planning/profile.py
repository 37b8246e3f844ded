"""A profile: by data alone, where machines come from and what takes the place of what cannot be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from orchestrator.errors import DeployError, InvalidInputError, UsageError
from orchestrator.resources import data_path
from orchestrator.topology.located import Mapping as MappingNode
from orchestrator.topology.located import Sequence, load_document
from orchestrator.topology.model import Value
from orchestrator.topology.reading import Findings, Section, did_you_mean

OPTION_FUNCTION = "get_option"
"""A value ``{get_option: NAME}`` in a profile is replaced by the option's value."""

OPTION_HERE_FUNCTION = "get_option_here"
"""The same for an option that may differ from place to place: ``VALUE``, or ``PROVIDER=VALUE,PROVIDER=VALUE``."""


class ProfileError(DeployError):
    """A profile cannot be used."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Match:
    """When a rule holds for a node; everything given must be so.

    Attributes:
        types: Node types, derived ones included; any type if empty.
        properties: Property name to the value it must have.
        capabilities: Capability to property to the value it must have.
        like: Property name to a shell pattern for its text.
        unlike: Property name to shell patterns, none of which its text may fit.
        options: Option name to the value it must have.
        differs: Two texts with ``{…}`` fields that must both be there and not be the same.
        unavailable_image: Whether the node's image must be one that cannot be had.
    """

    types: tuple[str, ...] = ()
    properties: Mapping[str, Value] = field(default_factory=dict)
    capabilities: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    like: Mapping[str, str] = field(default_factory=dict)
    unlike: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    differs: tuple[str, ...] = ()
    unavailable_image: bool = False


@dataclass(frozen=True, slots=True)
class OperationRule:
    """What a rule makes of an operation; empty parts stay as they are."""

    artifact_type: str = ""
    file: str = ""
    inputs: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SubstitutionRule:
    """A substitution to record; its texts may hold ``{…}`` fields."""

    what: str
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node cannot be deployed with this profile; its texts may hold ``{…}`` fields."""

    summary: str
    detail: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for the nodes that match; later rules add to earlier ones.

    Attributes:
        match: Which nodes.
        provider: Infrastructure API that makes the machine; may hold ``{…}`` fields, such as
            ``aws/{place_of.image_id}`` for the place that the image is at.
        disposable: Whether the machine is thrown away whole.
        behind_first: Whether the first of the node's machines is the way to the others, which have no way of their own.
        settings: For the provider or the executor.
        operations_of: Node type whose operations the node gets.
        operations: Operations to change or add.
        substitutions: What this puts in the place of the real thing.
        refusal: Set if such a node cannot be deployed.
    """

    match: Match
    provider: str = ""
    disposable: bool | None = None
    behind_first: bool = False
    settings: Mapping[str, Value] = field(default_factory=dict)
    operations_of: str = ""
    operations: Mapping[str, OperationRule] = field(default_factory=dict)
    substitutions: tuple[SubstitutionRule, ...] = ()
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile as loaded.

    Attributes:
        name: Name of its file.
        rehearsal: Whether it may put anything in the place of the real thing.
        name_suffix: Appended to the deployment's name.
        options: Option name to its default.
        choices: Option name to the values it may have; any value if it is not there.
        image_schemes: Provider that may be chosen for machines, without its place, to the scheme of its images.
        rules: In the order of the file.
    """

    name: str
    rehearsal: bool = False
    name_suffix: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    image_schemes: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    def resolve_options(self, given: Mapping[str, str]) -> dict[str, str]:
        """Every option with the given value or its default.

        Raises:
            UsageError: An option does not exist or cannot have this value.
        """
        for name, value in given.items():
            if name not in self.options:
                hint = did_you_mean(name, self.options)
                raise UsageError("No such option.", detail=f"Profile {self.name} has no option {name!r}.{hint}")
            if name in self.choices and value not in self.choices[name]:
                allowed = ", ".join(self.choices[name])
                raise UsageError("An option has no such value.", detail=f"{name} is one of {allowed}; it is {value!r}.")
        return {**self.options, **given}


def profile_names() -> tuple[str, ...]:
    """Names of the profiles that ship with the program."""
    return tuple(sorted(path.stem for path in data_path("tosca", "profiles").glob("*.yaml")))


@cache
def load_profile(name: str) -> Profile:
    """The profile of that name from ``tosca/profiles``.

    Raises:
        ProfileError: There is none, or it would put stand-ins into production.
        InvalidInputError: Its file is wrong.
    """
    if name not in profile_names():
        raise ProfileError(
            "No such profile.", detail=f"There is no profile {name!r}.{did_you_mean(name, profile_names())}"
        )
    return load_profile_file(data_path("tosca", "profiles", f"{name}.yaml"))


def load_profile_file(path: Path) -> Profile:
    """Read a profile's file; see ``load_profile``."""
    document = load_document(path)
    findings = Findings()
    findings.extend(document.diagnostics)
    if not isinstance(document.root, MappingNode):
        raise InvalidInputError(findings.all() or document.diagnostics)
    profile = _profile(path.stem, Section(document.root, "profile", findings))
    if findings.all():  # profiles ship with the program: a key that is not understood is a mistake
        raise InvalidInputError(findings.all())
    if not profile.rehearsal and any(rule.substitutions for rule in profile.rules):
        raise ProfileError(
            "A profile would put stand-ins into production.",
            detail=f"Profile {profile.name} is no rehearsal, and one of its rules holds a substitution.",
            resolution="Remove the substitution, or mark the profile with rehearsal: true.",
        )
    return profile


def _profile(name: str, top: Section) -> Profile:
    options: dict[str, str] = {}
    choices: dict[str, tuple[str, ...]] = {}
    for key, section in top.sections("options"):
        options[key] = section.text("default")
        if section.has("values"):
            choices[key] = tuple(item.text for item in section.texts("values"))
        section.finish(also=("description",))
    profile = Profile(
        name=name,
        rehearsal=top.boolean("rehearsal"),
        name_suffix=top.text("name_suffix"),
        options=options,
        choices=choices,
        image_schemes={key: str(value) for key, value in _mapping(top, "image_schemes").items()},
        rules=tuple(_rule(section) for section in _list(top, "rules")),
    )
    top.finish(also=("description",))
    return profile


def _list(section: Section, key: str) -> list[Section]:
    node = section.take(key)
    if node is None:
        return []
    if not isinstance(node, Sequence) or not all(isinstance(item, MappingNode) for item in node.items):
        section.wrong(key, "a list of mappings")
        return []
    items = [item for item in node.items if isinstance(item, MappingNode)]
    return [Section(item, f"{section.address}.{key}[{i}]", section.findings) for i, item in enumerate(items)]


def _rule(section: Section) -> Rule:
    match = section.section("match")
    refusal = section.section("refuse")
    rule = Rule(
        match=_match(match) if match else Match(),
        provider=section.text("provider"),
        disposable=section.boolean("disposable") if section.has("disposable") else None,
        behind_first=section.boolean("behind_first"),
        settings=_mapping(section, "settings"),
        operations_of=section.text("operations_of"),
        operations={key: _operation(inner) for key, inner in section.sections("operations")},
        substitutions=tuple(_substitution(inner) for inner in _list(section, "substitutions")),
        refusal=Refusal(refusal.need_text("summary", "a text"), refusal.need_text("detail", "a text"))
        if refusal
        else None,
    )
    section.finish(also=("description", "disposable"))
    return rule


def _match(section: Section) -> Match:
    capabilities = _mapping(section, "capabilities")
    match = Match(
        types=tuple(item.text for item in section.texts("type")),
        properties=_mapping(section, "properties"),
        capabilities={key: value for key, value in capabilities.items() if isinstance(value, dict)},
        like={key: str(value) for key, value in _mapping(section, "like").items()},
        unlike=_patterns(section, "unlike"),
        options={key: str(value) for key, value in _mapping(section, "options").items()},
        differs=tuple(item.text for item in section.texts("differs")),
        unavailable_image=section.boolean("unavailable_image"),
    )
    section.finish()
    return match


def _patterns(section: Section, key: str) -> dict[str, tuple[str, ...]]:
    values = _mapping(section, key)
    return {name: tuple(map(str, v)) if isinstance(v, list) else (str(v),) for name, v in values.items()}


def _operation(section: Section) -> OperationRule:
    rule = OperationRule(section.text("type"), section.text("file"), _mapping(section, "inputs"))
    section.finish()
    return rule


def _substitution(section: Section) -> SubstitutionRule:
    rule = SubstitutionRule(
        section.need_text("what", "a text"), section.need_text("by", "a text"), section.need_text("why", "a text")
    )
    section.finish()
    return rule


def _mapping(section: Section, key: str) -> dict[str, Value]:
    value = section.value(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        section.wrong(key, "a mapping")
        return {}
    return value
