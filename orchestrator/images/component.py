"""Makes the image of a component: built from its sources, pulled, or one that passes its input on."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import docker
import docker.errors
import yaml

from orchestrator.clients.engine import list_images, translated_errors
from orchestrator.clients.transience import tells_of_passing
from orchestrator.errors import CancelledError, OperationError, ProviderError
from orchestrator.images.base_image import IMAGE_LABEL, ensure_base_image
from orchestrator.images.build_container import Step, build_image, build_lock, find_image, inspect_image, recipe_digest
from orchestrator.images.registry import image_available
from orchestrator.topology.source_digest import source_digest, source_files

SOURCE_LABEL = "continuum.source"
"""Label with the digest of the sources that an image was built from."""

USED_BY = "-used-by-"
"""Within a tag: after it comes who uses the image."""

_RECIPE = 1
"""Counts changes of how images are built, so that an image of an earlier recipe is not taken for one of this."""

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PULL_TIMEOUT = 600
_BUILD_TIMEOUT = 1800
_COPYING = '#!/bin/sh\nset -eu\nexec cp -- "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n'


@dataclass(frozen=True, slots=True)
class ComponentImage:
    """A component's image in the engine: tag, id (``sha256:…``) and architecture (``amd64``, ``arm64``)."""

    reference: str
    id: str
    architecture: str


@dataclass(frozen=True, slots=True)
class ImageMaker:
    """Makes images of components.

    Attributes:
        client: The engine.
        architecture: What the images have to be for.
        progress: Called with a short line a step.
        cancel: Stops a build before its next step.
    """

    client: docker.DockerClient
    architecture: str
    progress: Callable[[str], None] = lambda _line: None
    cancel: Event | None = None

    def from_sources(self, component: str, folder: Path, digest: str) -> ComponentImage:
        """Build the image from a source folder, unless it is there already.

        Args:
            component: Name of the component; the sources end up in ``/opt/<component>``.
            folder: ``main.py`` or ``script.sh``; perhaps ``requirements.txt``, ``requirements.sys``, ``env.yaml``,
                ``Dockerfile``.
            digest: ``sha256:…`` of the sources as they were when the deployment was planned; empty takes them as they
                are.

        Raises:
            OperationError: If the sources changed meanwhile, or are not a component's.
            ImageBuildError: If a step of the build fails.
        """
        actual = source_digest(folder) if folder.is_dir() else ""
        if digest and digest != actual:
            built = self._built_before(component, digest)
            if built:
                self.progress(f"using {built}, which was built from these sources before")
                return self._checked(built)
            raise OperationError(
                "The sources of a component changed.",
                detail=f"{folder} has the digest {actual[:19] or 'of nothing'}…; the plan was made for "
                f"{digest[:19]}…, and the container engine has no image that was built from those.",
                resolution="Plan again, so that what is built is what was looked at. To return to what was applied "
                "before, put the sources back as they were then.",
            )
        names = source_files(folder)
        if "main.py" not in names and "script.sh" not in names:
            raise OperationError(
                "A component has nothing to run.",
                detail=f"{folder} holds neither main.py nor script.sh.",
                resolution="Add the component's program as main.py, or a script.sh that starts it.",
            )
        base = ensure_base_image(self.client, self.progress)
        tag = f"{repository(component)}:{recipe_digest(_RECIPE, base, actual, self.architecture)[:12]}"
        with build_lock(tag):
            if self._label(tag, SOURCE_LABEL) != actual:
                if "Dockerfile" in names:
                    base = self._from_dockerfile(component, folder, base)
                self._build(component, folder, names, base, tag, actual)
        return self._checked(tag)

    def has_built(self, component: str, digest: str) -> bool:
        """Whether the engine has an image that was built from sources with that digest, which need not be there."""
        return bool(digest) and bool(self._built_before(component, digest))

    def _built_before(self, component: str, digest: str) -> str:
        """Tag of the newest image that was built from sources with that digest; empty if there is none."""
        with translated_errors(f"looking for an earlier image of {component}"):
            images = list_images(self.client, [f"{SOURCE_LABEL}={digest}"], repository(component))
        tags = [next((t for t in image.tags if USED_BY not in t), "") for image in images]
        return next((tag for tag in tags if tag and self._fits(tag)), "")

    def _fits(self, tag: str) -> bool:
        """Whether the image is there and for the architecture; one that says nothing of it is checked when used."""
        image = inspect_image(self.client, tag)
        return image is not None and image.attrs.get("Architecture", self.architecture) == self.architecture

    def passing_on(self, component: str) -> ComponentImage:
        """An image whose script copies the input to the output."""
        base = ensure_base_image(self.client, self.progress)
        tag = f"{repository(component)}:{recipe_digest(_RECIPE, base, _COPYING, component)[:12]}"
        with build_lock(tag):
            if find_image(self.client, tag) is None:
                script = f"/opt/{component}/script.sh"
                steps = [Step(f"making {component} pass its input on", f"chmod -R a+rX /opt; chmod 755 {script}")]
                labels = {IMAGE_LABEL: "component", SOURCE_LABEL: "pass-through"}
                copies: dict[str, Path | bytes] = {script: _COPYING.encode()}
                build_image(self.client, base, steps, tag, labels=labels, copy_in=copies, cancel=self.cancel)
        return self._checked(tag)

    def pulled(self, reference: str) -> ComponentImage:
        """The image of that name, from the engine or its registry.

        Raises:
            OperationError: If it cannot be had.
        """
        if find_image(self.client, reference) is None:
            if not image_available(reference):
                raise OperationError(
                    "An image cannot be had.",
                    detail=f"Neither the container engine nor a registry that answers in 5 s has {reference}.",
                    resolution="Put the component's sources beside the production file (src/<component>), or make the "
                    "registry reachable and log in to it.",
                )
            self.progress(f"pulling {reference}")
            self._pull(reference)
        return self._checked(reference)

    def save(self, image: ComponentImage, archive: Path) -> None:
        """Write the image as an archive, in one step; one that is there already is kept."""
        if archive.is_file():
            return
        self.progress(f"saving {image.reference}")
        archive.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", suffix=".partial", dir=archive.parent)
        try:
            with os.fdopen(handle, "wb") as file, translated_errors(f"saving {image.reference}"):
                for chunk in self.client.images.get(image.reference).save(named=image.reference):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).rename(archive)
        finally:
            Path(name).unlink(missing_ok=True)

    def _build(self, component: str, folder: Path, names: list[str], base: str, tag: str, digest: str) -> None:
        place = f"/opt/{component}"
        copies: dict[str, Path | bytes] = {f"{place}/{name}": folder / name for name in names}
        if "script.sh" not in names:
            copies[f"{place}/script.sh"] = default_script(component).encode()
        steps = [] if "Dockerfile" in names else _requirement_steps(component, folder, names)
        # The script runs as an unprivileged user; a syntax error is found now and not at the first event.
        finish = f"chmod -R a+rX {place}\nchmod 755 {place}/script.sh"
        if "main.py" in names:
            finish += f"\npython3 -m compileall -q {place}/main.py"
        steps.append(Step(f"putting the code of {component} in place", finish))
        labels = {IMAGE_LABEL: "component", SOURCE_LABEL: digest}
        build_image(
            self.client,
            base,
            steps,
            tag,
            labels=labels,
            copy_in=copies,
            changes=[f"ENV {name}={json.dumps(value)}" for name, value in environment(folder).items()],
            progress=self.progress,
            cancel=self.cancel,
        )

    def _from_dockerfile(self, component: str, folder: Path, base: str) -> str:
        tag = f"{repository(component)}:dockerfile"
        self.progress(f"building the Dockerfile of {component}")
        deadline = time.monotonic() + _BUILD_TIMEOUT
        lines: deque[str] = deque(maxlen=20)
        with translated_errors(f"building the Dockerfile of {component}"):
            for line in self.client.api.build(
                path=str(folder),
                tag=tag,
                rm=True,
                forcerm=True,
                timeout=_PULL_TIMEOUT,
                buildargs={"BASE": base},
                decode=True,
            ):
                lines.append(str(line.get("stream") or line.get("error") or "").rstrip())
                late = time.monotonic() > deadline
                if "error" in line or late:
                    reason = f"It took longer than {_BUILD_TIMEOUT} s." if late else "The engine gave it up."
                    raise ProviderError(
                        "A Dockerfile could not be built.",
                        detail=f"{folder / 'Dockerfile'}: {reason} The end of its output:\n" + "\n".join(lines),
                        resolution="Mend the cause that the output names, and repeat.",
                    )
                if self.cancel is not None and self.cancel.is_set():
                    raise CancelledError("The build was stopped.", detail=f"The Dockerfile of {component}.")
            return str(self.client.images.get(tag).id)

    def _pull(self, reference: str) -> None:
        deadline = time.monotonic() + _PULL_TIMEOUT
        name, _, tag = reference.rpartition(":") if ":" in reference.rsplit("/", 1)[-1] else (reference, "", "latest")
        with translated_errors(f"pulling {reference}"):
            for line in self.client.api.pull(name, tag, stream=True, decode=True):
                if "error" in line:
                    error = OperationError(
                        "An image cannot be had.",
                        detail=f"Pulling {reference} failed: {line['error']}",
                        resolution="Make the registry reachable and log in to it, and repeat.",
                    )
                    raise error.passing() if tells_of_passing(str(line["error"])) else error
                if self.cancel is not None and self.cancel.is_set():
                    raise CancelledError("The pull was stopped.", detail=reference)
                if time.monotonic() > deadline:
                    raise OperationError(
                        "An image cannot be had.",
                        detail=f"Pulling {reference} took longer than {_PULL_TIMEOUT:.0f} s.",
                        resolution="Look at the speed of the registry, and repeat.",
                    )

    def _label(self, tag: str, label: str) -> str:
        image = inspect_image(self.client, tag)
        return "" if image is None else str(image.labels.get(label, ""))

    def _checked(self, tag: str) -> ComponentImage:
        """The image, after a look at what it is for: builders are known to get that wrong silently."""
        with translated_errors(f"looking at {tag}"):
            image = self.client.images.get(tag)
        found = str(image.attrs.get("Architecture", ""))
        if found != self.architecture:
            raise OperationError(
                "An image is for another architecture.",
                detail=f"{tag} is for {found or 'an unknown one'}, and {self.architecture} is needed.",
                resolution="Give an image for that architecture, or the component's sources.",
            )
        return ComponentImage(tag, str(image.id), found)


def give_name(client: docker.DockerClient, digest: str, reference: str) -> None:
    """Have ``reference`` mean the image of that identifier in the engine, whatever it means now."""
    name, _, tag = reference.rpartition(":") if ":" in reference.rsplit("/", 1)[-1] else (reference, "", "latest")
    with translated_errors(f"naming the image {digest[:19]}…"):
        client.images.get(digest).tag(name, tag)


def repository(component: str) -> str:
    """Name of the component's images, made of what is allowed there."""
    return f"continuum-deploy/{re.sub(r'[^a-z0-9]+', '-', component.lower()).strip('-') or 'component'}"


def default_script(component: str) -> str:
    """The script of a component that has none of its own."""
    program = f"/opt/{component}/main.py"
    return f'#!/bin/sh\nset -eu\nexec python3 {program} -i "$INPUT_FILE_PATH" -o "$TMP_OUTPUT_DIR"\n'


def environment(folder: Path) -> Mapping[str, str]:
    """Variables of ``env.yaml``; none if there is no such file.

    Raises:
        OperationError: If it is not a flat map of names to values.
    """
    file = folder / "env.yaml"
    if not file.is_file():
        return {}
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _unreadable(file, str(error)) from error
    if not isinstance(document, dict):
        raise _unreadable(file, "a map of variable names to values is expected")
    for name, value in document.items():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name) or isinstance(value, dict | list):
            raise _unreadable(file, f"{name!r} is no variable with a plain value")
    return {name: "" if value is None else str(value) for name, value in document.items()}


def _unreadable(file: Path, reason: str) -> OperationError:
    return OperationError(
        "A component's file is not as it should be.", detail=f"{file}: {reason}.", resolution="Correct it, and repeat."
    )


def _requirement_steps(component: str, folder: Path, names: list[str]) -> list[Step]:
    packages = _lines(folder / "requirements.sys") if "requirements.sys" in names else []
    for package in packages:
        if not _PACKAGE.fullmatch(package):
            raise _unreadable(folder / "requirements.sys", f"{package!r} is no name of a Debian package")
    modules = _lines(folder / "requirements.txt") if "requirements.txt" in names else []
    if modules:
        packages.append("python3-pip")
    steps = []
    if packages:
        install = f"apt-get install -q -y --no-install-recommends {' '.join(dict.fromkeys(packages))}"
        clean = "apt-get clean\nrm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log"
        steps.append(Step(f"installing the packages of {component}", f"apt-get update -q\n{install}\n{clean}"))
    if modules:
        script = f"pip3 install -r /opt/{component}/requirements.txt"
        steps.append(Step(f"installing the Python modules of {component}", script))
    return steps


def _lines(file: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]
