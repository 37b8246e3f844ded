"""Goes back to a version that was applied completely before: the same plan and the same apply, with its template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from orchestrator.clients.engine import connect
from orchestrator.errors import DeployError, EngineUnavailableError, ProviderError, UsageError
from orchestrator.images.build_container import find_image
from orchestrator.images.component import give_name
from orchestrator.images.registry import image_available
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.plan_file import SavedPlan
from orchestrator.planning.planner import Wanted
from orchestrator.services.deployment import OpenDeployment
from orchestrator.services.load import LoadedTopology
from orchestrator.services.manifest import parse_stored_template
from orchestrator.services.prepare import Target, prepare, want
from orchestrator.state.model import InstanceRecord, State, Version
from orchestrator.topology.source_digest import source_digest


class ImageSource(StrEnum):
    """Where an image of an earlier version comes from."""

    RUNNING = "in use now"
    KEPT = "kept by the container engine"
    BUILT = "built again from the same sources"
    PULLED = "pulled again under its name"
    UNKNOWN = "not known: the container engine does not answer"
    LOST = "gone"


@dataclass(frozen=True, slots=True)
class ReturningImage:
    """An image of an earlier version.

    Attributes:
        address: Its node instance.
        digest: Its identifier then.
        source: Where it comes from.
        detail: More about that, as a clause.
        name: The name under which it was pulled, if that means another image in the engine now; else empty.
    """

    address: str
    digest: str
    source: ImageSource
    detail: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Rollback:
    """What going back to a version means.

    Attributes:
        version: The version.
        target: Its topology and profile.
        saved: The plan, and what it was made from.
        images: Its images.
    """

    version: Version
    target: Target
    saved: SavedPlan
    images: tuple[ReturningImage, ...]


class LostImagesError(DeployError):
    """Images of an earlier version can neither be found nor made again."""

    def __init__(self, version: Version, lost: Sequence[ReturningImage]) -> None:
        super().__init__(
            "Images of that version are gone.",
            detail="\n".join(f"{image.address} ({image.digest[:19]}…): {image.detail}" for image in lost)
            + "\nNothing was changed.",
            resolution=f"Put the components' sources back as they were on {version.time[:10]} (run {version.run}), for "
            "example from version control, and repeat; or go back to another version (`deploy rollback --list`).",
        )
        self.lost = tuple(lost)


def choose_version(state: State, number: int | None) -> Version:
    """The version to go back to.

    Args:
        state: The deployment's state.
        number: Of the version; ``None`` takes the last good one: the newest that is not what was applied last. So it
            is the last complete one after an apply that failed, and the one before it after an apply that did not.

    Raises:
        UsageError: If there is none, or none of that number.
    """
    if number is None:
        others = [version for version in state.versions if not state.is_at(version)]
        if others:
            return others[-1]
        raise UsageError(
            "There is no version to go back to.",
            detail=f"{state.deployment} has {_kept(state)}; a rollback needs one that is not the present one.",
            resolution="Apply the production file as it should be; every apply that does everything is kept from then "
            "on.",
        )
    for version in state.versions:
        if version.number == number:
            return version
    raise UsageError(
        "There is no such version.",
        detail=f"Version {number} of {state.deployment} was asked for; it has {_kept(state)}.",
        resolution="Choose one that `deploy rollback --list` shows.",
    )


def _kept(state: State) -> str:
    if not state.versions:
        return "no version that was applied completely"
    return f"the versions {', '.join(str(version.number) for version in state.versions)}"


def target_of(version: Version, name: str) -> Target:
    """What the version wants, under its profile."""
    topology = parse_stored_template(version.template, name)
    loaded = LoadedTopology(topology, version.template, Path(version.application_root), ())
    return Target(loaded, version.profile, version.profile_options)


def prepare_rollback(opened: OpenDeployment, version: Version) -> Rollback:
    """Look at what is there and plan the way back. Changes nothing.

    Raises:
        LostImagesError: If an image of the version can neither be found nor made again.
        InvalidInputError: If this program does not read the version's template any longer.
    """
    target = target_of(version, opened.name)
    wanted, _findings = want(target)
    images = find_images(version, wanted, opened.state)
    lost = [image for image in images if image.source is ImageSource.LOST]
    if lost:
        raise LostImagesError(version, lost)
    plan = prepare(target, opened, wanted, [image.address for image in images if image.name])
    saved = SavedPlan(plan, version.template, version.profile_options, version.application_root)
    return Rollback(version, target, saved, images)


def find_images(version: Version, wanted: Wanted, state: State | None) -> tuple[ReturningImage, ...]:
    """Where each image of the version comes from, before anything is changed."""
    records = state.instances if state else {}
    found: list[ReturningImage] = []
    for address, digest in version.images.items():
        instance = wanted.instances.get(address)
        if instance is None:
            continue
        record = records.get(address)
        if record is not None and record.attributes.get("digest") == digest:
            found.append(ReturningImage(address, digest, ImageSource.RUNNING))
            continue
        found.append(_look_for(instance, digest, Path(version.application_root)))
    return tuple(found)


def _look_for(instance: DesiredInstance, digest: str, application: Path) -> ReturningImage:
    """Look in the order in which the executor does."""
    found = partial(ReturningImage, instance.address, digest)
    sources, wanted = instance.artifacts.get("source", ""), str(instance.properties.get("source_digest") or "")
    if sources and (application / sources).is_dir() and source_digest(application / sources) == wanted:
        return found(ImageSource.BUILT)
    reference = str(instance.properties.get("image") or "")
    try:
        client = connect(start=False)
        if find_image(client, digest):
            is_renamed = bool(reference) and not sources and find_image(client, reference) != digest
            return found(ImageSource.KEPT, name=reference if is_renamed else "")
    except (EngineUnavailableError, ProviderError) as cause:
        return found(ImageSource.UNKNOWN, cause.summary)
    if sources:
        detail = f"the container engine does not have it any longer, and {application / sources} has changed since"
        return found(ImageSource.LOST, detail)
    if instance.settings.get("pass_through") is True or image_available(reference):
        return found(ImageSource.PULLED, reference)
    return found(ImageSource.LOST, f"neither the container engine nor a registry that answers in 5 s has {reference}")


def restore_names(images: Sequence[ReturningImage]) -> None:
    """Have the names of pulled images mean what they meant then, for the engine here.

    Raises:
        ProviderError: If the engine refuses.
    """
    renamed = [image for image in images if image.name]
    if renamed:
        client = connect(start=False)
        for image in renamed:
            give_name(client, image.digest, image.name)


def finish_rollback(opened: OpenDeployment, rollback: Rollback) -> tuple[str, ...]:
    """Note that the version is what is applied, which an apply that had nothing to change has not done.

    Returns:
        Warnings: which images are not the ones that they were.
    """
    saved, session = rollback.saved, opened.session
    session.set_template(saved.template, saved.plan.profile, saved.profile_options, saved.application_root)
    session.keep_version(opened.run)
    session.snapshot()
    return other_images(rollback.version, session.state.instances)


def other_images(version: Version, records: Mapping[str, InstanceRecord]) -> tuple[str, ...]:
    """A sentence for every image that is another one than it was in the version."""
    found = []
    for address, digest in version.images.items():
        attributes = records[address].attributes if address in records else {}
        now = attributes.get("digest")
        if now is not None and now != digest:
            found.append(
                f"{address} is not the image that it was in version {version.number}: {attributes.get('reference')} is "
                f"{str(now)[:19]}… now and was {digest[:19]}… then. Its name was given to another image, or its base "
                "image has changed since."
            )
    return tuple(found)
