"""Which cloud an option chooses for the machines of a layer or a resource: it completes their image ids. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.diagnostics import Diagnostic, Location, error
from orchestrator.errors import UsageError
from orchestrator.topology.functions import Scope, node_properties
from orchestrator.topology.model import NodeTemplate, Topology, Value
from orchestrator.topology.reading import nearest
from orchestrator.topology.types import TypeCatalogue

PROVIDER_OPTION = "provider"
"""The option of a profile: ``PROVIDER``, or ``WHERE=PROVIDER,WHERE=PROVIDER`` with layers and resources."""

IMAGE = "image_id"
"""The property that the option completes."""

_VIRTUAL_MACHINE = "continuum.nodes.VirtualMachine"
_LAYER = "continuum.groups.ComputationalLayer"
_MOST_NAMED = 12


@dataclass(frozen=True, slots=True)
class _Choice:
    """One entry of the option.

    Attributes:
        where: Layer or resource, as written; empty for all machines of clouds.
        provider: Provider with its place.
    """

    where: str
    provider: str


def chosen_provider(text: str, node: NodeTemplate, topology: Topology) -> str:
    """The provider that the option chooses for a node: by its resource, else its layer, else for all; else empty."""
    choices = _choices(text)
    for words in _words(node, topology):
        for choice in reversed(choices):
            if choice.where.casefold() in words:
                return choice.provider
    return ""


def with_chosen_provider(image: str, provider: str, schemes: Mapping[str, str]) -> str:
    """An image id with what the provider says of it, as far as it does not say that itself.

    Args:
        image: ``ami-1``, ``aws://ami-1`` or ``aws://eu-central-1/ami-1``; empty if there is none.
        provider: ``aws/eu-central-1``; empty if none was chosen.
        schemes: Provider without place to the scheme of its images.
    """
    kind, _, place = provider.partition("/")
    if not image or not place or kind not in schemes:
        return image
    named, separator, rest = image.partition("://")
    if not separator:
        return f"{schemes[kind]}://{place}/{image}"
    there, slash, identifier = rest.partition("/")
    lacks_place = identifier if slash and not there else there if not slash and there != place else ""
    return f"{named}://{place}/{lacks_place}" if lacks_place and named == schemes[kind] else image


def with_choice(
    properties: Mapping[str, Value], scope: Scope, text: str, schemes: Mapping[str, str]
) -> Mapping[str, Value]:
    """Properties of a node with its image id completed, where it is machines of a cloud that was chosen.

    Args:
        properties: What the template says, functions resolved.
        scope: The node.
        text: The option.
        schemes: Provider without place to the scheme of its images.
    """
    image = properties.get(IMAGE)
    if not text or not isinstance(image, str) or not _is_made_by_cloud(scope.node, scope.catalogue):
        return properties
    chosen = chosen_provider(text, scope.node, scope.topology)
    return {**properties, IMAGE: with_chosen_provider(image, chosen, schemes)}


def contradictions(
    topology: Topology,
    catalogue: TypeCatalogue,
    schemes: Mapping[str, str],
    text: str,
    places: Mapping[str, Location],
) -> Iterator[Diagnostic]:
    """Machines whose image is at another cloud than the one that was chosen, as errors.

    Args:
        topology: What is wanted.
        catalogue: Its types.
        schemes: Provider without place to the scheme of its images.
        text: The option.
        places: Node name to the place that a message should point to.
    """
    for node in _machines(topology, catalogue) if text else ():
        provider = chosen_provider(text, node, topology)
        image = str(node_properties(Scope(topology, catalogue, node)).get(IMAGE) or "")
        if _is_elsewhere(image, provider, schemes):
            yield error(
                "The image is not the chosen provider's.",
                f"Virtual machines of {_resource(node)} have the operatingSystemImageId {image}, and {provider} is to "
                "make them, as --provider says or said at the last apply. Name an image of that provider (its "
                "identifier alone will do), or choose the one that has this image; --provider '' forgets the choice.",
                address=node.name,
                location=places.get(node.name),
            )


def check_choices(text: str, topology: Topology, catalogue: TypeCatalogue, schemes: Mapping[str, str]) -> None:
    """See that the option makes sense for a topology.

    Args:
        text: The option.
        topology: What is wanted.
        catalogue: Its types.
        schemes: Provider without place to the scheme of its images.

    Raises:
        UsageError: If it names no layer or resource, or no provider, or two for the same machines; all of it at once.
    """
    choices, nodes = _choices(text), _machines(topology, catalogue)
    wrong = [reason for choice in choices for reason in _wrong(choice, nodes, topology, schemes)]
    wrong += _ambiguous(choices, nodes, topology)
    if wrong:
        raise UsageError(
            "A provider cannot be chosen like this.",
            detail="\n".join(dict.fromkeys(wrong)),
            resolution="Write it as `--provider aws/eu-central-1`, or `--provider RESOURCE=openstack/cloud.example` "
            "with a resource, or the number or name of a layer; several with commas between them.",
        )


def _choices(text: str) -> tuple[_Choice, ...]:
    entries = [entry.rpartition("=") for entry in text.split(",") if entry.strip()]
    return tuple(_Choice(where.strip(), provider.strip()) for where, _, provider in entries)


def _is_made_by_cloud(node: NodeTemplate, catalogue: TypeCatalogue) -> bool:
    return catalogue.has(node.type) and catalogue.is_derived(node.type, _VIRTUAL_MACHINE)


def _machines(topology: Topology, catalogue: TypeCatalogue) -> list[NodeTemplate]:
    return [node for node in topology.nodes.values() if _is_made_by_cloud(node, catalogue)]


def _resource(node: NodeTemplate) -> str:
    return str(node.properties.get("resource") or node.name)


def _layer(node: NodeTemplate, topology: Topology) -> list[str]:
    """Number and name of the node's layer, as far as they are known."""
    groups = [g for g in topology.groups.values() if g.type == _LAYER and node.name in g.members]
    words = [node.properties.get("layer"), *(group.properties.get("name") for group in groups)]
    return [str(word) for word in words if word is not None]


def _words(node: NodeTemplate, topology: Topology) -> tuple[frozenset[str], ...]:
    """What an entry may call a node, the most particular first: by itself, by its layer, by nothing."""
    named = ([node.name, _resource(node)], _layer(node, topology), [""])
    return tuple(frozenset(word.casefold() for word in words) for words in named)


def _is_elsewhere(image: str, provider: str, schemes: Mapping[str, str]) -> bool:
    """Whether an image says that another cloud has it, or that it is at another place."""
    kind, _, place = provider.partition("/")
    named, separator, rest = image.partition("://")
    there, _, identifier = rest.partition("/")
    if not separator or kind not in schemes:
        return False
    return named != schemes[kind] or bool(there and identifier and there != place)


def _wrong(
    choice: _Choice, nodes: Sequence[NodeTemplate], topology: Topology, schemes: Mapping[str, str]
) -> Iterator[str]:
    """What is wrong with an entry, in full sentences."""
    where = choice.where.casefold()
    if not nodes:
        yield "No cloud makes any machine of this deployment, so that there is nothing to choose a provider for."
    elif not any(where in words for node in nodes for words in _words(node, topology)):
        yield f"No layer or resource whose machines a cloud makes is called {choice.where!r}." + _what_there_is(
            choice.where, nodes, topology
        )
    kind, _, place = choice.provider.partition("/")
    if kind not in schemes:
        offered = ", ".join(f"{name}/PLACE" for name in sorted(schemes))
        yield f"No provider that orders machines from a cloud is called {choice.provider!r}. There is: {offered}."
    elif not place or "/" in place:
        yield f"{choice.provider!r} does not say where: write {kind}/PLACE, a region or the host of the cloud's API."


def _what_there_is(word: str, nodes: Sequence[NodeTemplate], topology: Topology) -> str:
    """The resources that there are, with their layers, and the nearest word; begins with a blank."""
    near = nearest(word, {name for node in nodes for name in (_resource(node), *_layer(node, topology))})
    shown = [f"{_resource(node)} (layer {', '.join(_layer(node, topology))})" for node in nodes[:_MOST_NAMED]]
    more = f" and {len(nodes) - _MOST_NAMED} more" if len(nodes) > _MOST_NAMED else ""
    return (f" Did you mean {near!r}?" if near else "") + f" There is: {', '.join(shown)}{more}."


def _ambiguous(choices: Sequence[_Choice], nodes: Sequence[NodeTemplate], topology: Topology) -> Iterator[str]:
    """Machines of which two entries that are equally particular say something else."""
    for node in nodes:
        for words in _words(node, topology):
            said = dict.fromkeys(choice.provider for choice in choices if choice.where.casefold() in words)
            if len(said) > 1:
                yield f"Both {' and '.join(said)} are chosen for {_resource(node)}; one can make its machines."
            if said:
                break
