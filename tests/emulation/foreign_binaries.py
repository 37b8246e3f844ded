"""Lets this kernel run programs of another processor: registrations with binfmt_misc that are taken back."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

FOLDER = Path("/proc/sys/fs/binfmt_misc")


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor that can be emulated for single programs.

    Attributes:
        debian: Debian's name of it.
        program: Emulator, statically linked.
        magic: Beginning of its programs (ELF header), and the bits of it that count.
        mask: See ``magic``.
    """

    debian: str
    program: str
    magic: bytes
    mask: bytes


def _elf(bits: int, machine: int) -> tuple[bytes, bytes]:
    """Magic and mask of little-endian executables and shared objects."""
    head = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9)
    magic = head + b"\x02\x00" + machine.to_bytes(2, "little")
    mask = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff"
    return magic, mask


ARM64 = Processor("arm64", "qemu-aarch64-static", *_elf(2, 183))
ARMHF = Processor("armhf", "qemu-arm-static", *_elf(1, 40))


@contextmanager
def registered(processor: Processor) -> Iterator[None]:
    """Register the emulator under a name of our own, for the duration of a ``with`` block.

    The flags let it be opened once for all roots (F), see the program as it was called (P, O), and run programs such
    as sudo with the rights of their owner (C). Registrations of others are neither changed nor removed; ours is the
    newest and therefore the one that counts while it lasts.

    Skips the test where that cannot be done.
    """
    emulator = shutil.which(processor.program)
    if emulator is None:
        pytest.skip(f"{processor.program} is not installed: run `make test-slow`, or `scripts/bootstrap slow` first")
    with _mounted():
        entry = FOLDER / f"continuum-deploy-{processor.debian}"
        _remove(entry)
        escaped = [_escape(part) for part in (processor.magic, processor.mask)]
        (FOLDER / "register").write_text(f":{entry.name}:M:0:{escaped[0]}:{escaped[1]}:{emulator}:POCF\n", "ascii")
        try:
            yield
        finally:
            _remove(entry)


@contextmanager
def _mounted() -> Iterator[None]:
    """The file system of registrations, mounted only if it was not, and then taken away again if nobody uses it."""
    if (FOLDER / "register").exists():
        yield
        return
    done = subprocess.run(
        ["mount", "-t", "binfmt_misc", "binfmt_misc", FOLDER], capture_output=True, text=True, timeout=20, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"programs of another processor cannot be run here: {done.stderr.strip()}")
    try:
        yield
    finally:
        if {path.name for path in FOLDER.iterdir()} == {"register", "status"}:
            subprocess.run(["umount", FOLDER], capture_output=True, timeout=20, check=False)


def _remove(entry: Path) -> None:
    # Nothing can be made in there by opening it for writing.
    with contextlib.suppress(FileNotFoundError), entry.open("r+", encoding="ascii") as file:
        file.write("-1\n")


def _escape(raw: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in raw)
