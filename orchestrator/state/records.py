"""A mapping of records that is never altered, and of which an altered copy costs little however large it is."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView

from orchestrator.state.model import InstanceRecord

_SMALLEST = 64
"""Changes that are kept aside before anything is copied, at least."""


class Records(Mapping[str, InstanceRecord]):
    """Records by address: many in one dict that copies share, and the few that differ from it aside.

    A copy with one record more or less copies only what is aside. When that has grown to the square root of all, both
    become one new dict. So a step of a deployment of *n* nodes costs √n and not n. Safe to read from several threads.

    Args:
        shared: The records; not to be altered by anybody afterwards.
        aside: Records that take the place of shared ones or are added; ``None`` where nothing is any longer.
        length: How many there are in all, if something is aside.
    """

    __slots__ = ("_length", "_parts")

    def __init__(
        self, shared: dict[str, InstanceRecord], aside: dict[str, InstanceRecord | None] | None = None, length: int = 0
    ) -> None:
        # In one attribute, so that no thread sees one part of before and one of after they became one.
        self._parts = (shared, aside or {})
        self._length = length if aside else len(shared)

    @classmethod
    def of(cls, records: Mapping[str, InstanceRecord]) -> Records:
        """The same records; no copy of what is such a mapping already."""
        return records if isinstance(records, Records) else cls(dict(records))

    def put(self, record: InstanceRecord) -> Records:
        """A copy with the record in place of what was at its address."""
        return self._copy(record.address, record, self._length + (record.address not in self))

    def without(self, address: str) -> Records:
        """A copy with nothing at the address."""
        return self._copy(address, None, self._length - 1) if address in self else self

    def __getitem__(self, address: str) -> InstanceRecord:
        shared, aside = self._parts
        record = aside[address] if address in aside else shared[address]
        if record is None:
            raise KeyError(address)
        return record

    def __contains__(self, address: object) -> bool:
        shared, aside = self._parts
        return aside[address] is not None if address in aside else address in shared

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return self._length

    def keys(self) -> KeysView[str]:
        """Addresses, in the order in which they were first put."""
        return self._whole().keys()

    def values(self) -> ValuesView[InstanceRecord]:
        """Records, in the same order."""
        return self._whole().values()

    def items(self) -> ItemsView[str, InstanceRecord]:
        """Both, in the same order."""
        return self._whole().items()

    def __eq__(self, other: object) -> bool:
        whole = other._whole() if isinstance(other, Records) else other
        return self._whole() == whole if isinstance(whole, Mapping) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Records({self._whole()!r})"

    def _whole(self) -> dict[str, InstanceRecord]:
        """All in one dict, made for the first who asks; when two threads do at once, each makes the same."""
        shared, aside = self._parts
        if aside:
            merged = {**shared, **aside}
            shared = {address: record for address, record in merged.items() if record is not None}
            self._parts = (shared, {})
        return shared

    def _copy(self, address: str, record: InstanceRecord | None, length: int) -> Records:
        shared, aside = self._parts
        if len(aside) >= max(_SMALLEST, int(len(shared) ** 0.5)):
            shared, aside = self._whole(), {}
        return Records(shared, {**aside, address: record}, length)
