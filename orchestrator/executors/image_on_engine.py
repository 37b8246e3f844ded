"""Makes the images of components on the container engine, finds them there and lets go of them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import docker

from orchestrator.clients.engine import connect, engine_architecture, list_images, translated_errors
from orchestrator.errors import EngineUnavailableError, OperationError, ProviderError
from orchestrator.executors.base import OperationRequest, OperationResult
from orchestrator.images.base_image import IMAGE_LABEL
from orchestrator.images.build_container import build_lock, find_image, inspect_image
from orchestrator.images.component import ComponentImage, ImageMaker
from orchestrator.planning.observation import Difference, Observation, Presence
from orchestrator.state.model import InstanceRecord

_OURS = "continuum-deploy/"
_USERS = ".users"
_CLAIM = "-used-by-"


def look_for_image(request: OperationRequest, reference: str) -> Observation:
    """Whether the engine has the image that was made."""
    try:
        found = find_image(connect(start=False), reference)
    except (EngineUnavailableError, ProviderError) as error:
        return Observation(Presence.UNKNOWN, f"{error.summary} {error.detail}")
    if found != request.record.attributes.get("digest"):
        detail = f"the container engine has no such image as {reference}"
        differences = (Difference("digest", request.record.attributes.get("digest"), found),)
        return Observation(Presence.MISSING, detail, differences=differences)
    return Observation(Presence.PRESENT)


def make_image(request: OperationRequest) -> OperationResult:
    """Have the image and its archive, and say that this instance uses them."""
    properties, settings = request.instance.properties, request.instance.settings
    wanted = str(settings.get("architecture") or properties.get("architecture") or "")
    own = engine_architecture()
    if wanted and wanted != own:
        raise OperationError(
            "An image cannot be made for that architecture.",
            detail=f"{request.instance.address} is for {wanted}, and the container engine here runs {own}.",
            resolution="Use a container engine of that architecture, or a profile that takes another one.",
        )
    maker = ImageMaker(connect(), own, request.progress, request.cancel)
    image = _make(request, maker)
    archive = Path("images") / f"{image.id.removeprefix('sha256:')}.tar"
    with build_lock(image.id):
        if image.reference.startswith(_OURS):
            _claim(maker.client, image, request)
        _save(maker, image, request.folders.cache / archive, request)
    return OperationResult(
        {
            "reference": image.reference,
            "digest": image.id,
            "architecture": image.architecture,
            "archive": str(archive),
        }
    )


def restore_archive(request: OperationRequest, record: InstanceRecord) -> None:
    """Save the image of ``record`` again, whose archive is not in this working folder.

    Raises:
        OperationError: If the engine has another image under its name, or none.
    """
    reference, digest = str(record.attributes.get("reference")), str(record.attributes.get("digest"))
    maker = ImageMaker(connect(), engine_architecture(), request.progress, request.cancel)
    with build_lock(digest):
        if find_image(maker.client, reference) != digest:
            raise OperationError(
                "The archive of an image is gone.",
                detail=f"{request.instance.address} needs the archive of {reference} ({digest}), which is not in this "
                "working folder, and the container engine has no such image to save it from.",
                resolution=f"Have it made anew: `deploy apply FILE --replace {record.address}`.",
            )
        image = ComponentImage(reference, digest, str(record.attributes.get("architecture")))
        user = replace(request, instance=replace(request.instance, address=record.address))
        _save(maker, image, request.folders.cache / str(record.attributes["archive"]), user)


def let_go_of_image(request: OperationRequest) -> OperationResult:
    """Take back that this instance uses image and archive, and remove them once nobody does."""
    attributes = request.record.attributes
    reference, archive = str(attributes.get("reference") or ""), str(attributes.get("archive") or "")
    if not archive:
        return OperationResult(changed=False)
    with build_lock(str(attributes.get("digest"))):
        _leave(request.folders.cache / archive, request)
        # An image that was pulled is not ours to remove.
        if reference.startswith(_OURS):
            _release(connect(), reference, request)
    _leave_earlier(request)
    if reference.startswith(_OURS):
        _release_earlier(connect(), request)
    return OperationResult()


def _make(request: OperationRequest, maker: ImageMaker) -> ComponentImage:
    properties = request.instance.properties
    component = str(properties.get("component") or request.instance.node)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", component):
        raise OperationError(
            "A component's name cannot be the name of a folder.",
            detail=f"{request.instance.address} is for the component {component!r}; its code would be there.",
            resolution="Use letters, digits, dots, dashes and underscores only.",
        )
    source = request.instance.artifacts.get("source", "")
    if source:
        folder = request.folders.application / source
        digest = str(properties.get("source_digest") or "")
        if not folder.is_dir() and not maker.has_built(component, digest):
            raise OperationError(
                "The sources of a component are not there.",
                detail=f"{request.instance.address} is built from {folder}, which is no folder.",
                resolution="Put them back, or plan again.",
            )
        return maker.from_sources(component, folder, digest)
    if request.instance.settings.get("pass_through") is True:
        return maker.passing_on(component)
    return maker.pulled(str(properties.get("image") or ""))


def _save(maker: ImageMaker, image: ComponentImage, archive: Path, request: OperationRequest) -> None:
    """Write the archive, and say that this instance uses it."""
    users = archive.with_name(f"{archive.name}{_USERS}")
    users.mkdir(parents=True, exist_ok=True)
    _marker(users, request).touch()
    maker.save(image, archive)


def _claim(client: docker.DockerClient, image: ComponentImage, request: OperationRequest) -> None:
    """Say in the engine that this deployment uses an image: the engine is what all of them share."""
    repository, _, version = image.reference.rpartition(":")
    with translated_errors(f"tagging the image {image.reference}"):
        client.images.get(image.id).tag(repository, f"{version}{_used_by(request)}")


def _leave(archive: Path, request: OperationRequest) -> None:
    """Say that this instance uses an archive no longer, and remove it if it was the last one."""
    users = archive.with_name(f"{archive.name}{_USERS}")
    _marker(users, request).unlink(missing_ok=True)
    if not users.is_dir() or not any(users.iterdir()):
        if users.is_dir():
            users.rmdir()
        archive.unlink(missing_ok=True)


def _leave_earlier(request: OperationRequest) -> None:
    """The same for the archives of images that the instance had before."""
    for users in sorted((request.folders.cache / "images").glob(f"*{_USERS}")):
        if _marker(users, request).exists():
            archive = users.with_name(users.name.removesuffix(_USERS))
            with build_lock(f"sha256:{archive.stem}"):
                _leave(archive, request)


def _release_earlier(client: docker.DockerClient, request: OperationRequest) -> None:
    """Let go of the images that the instance had before, which were kept so that a rollback finds them."""
    own = _used_by(request)
    with translated_errors("looking for earlier images"):
        images = list_images(client, [f"{IMAGE_LABEL}=component"])
    for image_id, tag in [(i.id, t) for i in images for t in i.tags if t.endswith(own)]:
        with build_lock(image_id):
            _release(client, tag.removesuffix(own), request)


def _release(client: docker.DockerClient, reference: str, request: OperationRequest) -> None:
    """Take the claim back, and remove the image if it was the last one."""
    image = inspect_image(client, reference)
    if image is None:
        return
    own = f"{reference}{_used_by(request)}"
    with translated_errors(f"removing the image {reference}"):
        claims = {t for t in image.tags if t.startswith(f"{reference}{_CLAIM}")}
        if own in claims:
            client.images.remove(own)
        if not claims - {own}:
            client.images.remove(reference)


def _used_by(request: OperationRequest) -> str:
    """End of the tag that says that this instance uses an image."""
    return f"{_CLAIM}{hashlib.sha256(f'{request.tag.lineage}/{request.instance.address}'.encode()).hexdigest()[:16]}"


def _marker(users: Path, request: OperationRequest) -> Path:
    """The file that says that this instance uses an archive."""
    return users / re.sub(r"[^A-Za-z0-9.-]+", "-", f"{request.tag.lineage}-{request.instance.address}")
