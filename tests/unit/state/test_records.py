"""A mapping that is never altered holds what a dict would, whatever was put and taken."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.state import records
from orchestrator.state.model import InstanceRecord
from orchestrator.state.records import Records

ADDRESSES = st.sampled_from([f"n{number}" for number in range(12)])
STEPS = st.lists(st.tuples(st.sampled_from(("put", "without")), ADDRESSES, st.integers(1, 9)), max_size=60)


def record(address: str, generation: int = 1) -> InstanceRecord:
    return InstanceRecord(address, address, "T", generation=generation)


@given(STEPS, st.integers(1, 8))
def test_it_is_a_dict_to_whoever_reads_it(steps: list[tuple[str, str, int]], smallest: int) -> None:
    kept, records._SMALLEST = records._SMALLEST, smallest
    try:
        mapping, plain = Records({}), dict[str, InstanceRecord]()
        earlier: list[tuple[Records, dict[str, InstanceRecord]]] = []
        for what, address, generation in steps:
            earlier.append((mapping, dict(plain)))
            if what == "put":
                mapping = mapping.put(record(address, generation))
                plain[address] = record(address, generation)
            else:
                mapping = mapping.without(address)
                plain.pop(address, None)
            assert dict(mapping) == plain
            assert (len(mapping), set(mapping)) == (len(plain), set(plain))
            assert list(mapping.items()) == [(a, plain[a]) for a in mapping]
            assert mapping == plain
            assert all((a in mapping) == (a in plain) for a in (*plain, "n0", "elsewhere"))
            assert mapping.get("n1") == plain.get("n1")
        for before, then in earlier:
            assert before == then, "what was handed out must not be altered by later steps"
    finally:
        records._SMALLEST = kept


def test_the_order_is_that_of_the_first_time() -> None:
    mapping = Records({"a": record("a"), "b": record("b")}).put(record("c")).put(record("a", 2)).put(record("d"))
    assert list(mapping) == ["a", "b", "c", "d"]


def test_what_is_one_already_is_not_copied() -> None:
    mapping = Records({"a": record("a")})
    assert Records.of(mapping) is mapping
    plain = {"a": record("a")}
    copied = Records.of(plain)
    plain["b"] = record("b")
    assert list(copied) == ["a"]


def test_a_step_copies_few_of_many() -> None:
    mapping = Records({f"n{number}": record(f"n{number}") for number in range(10_000)})
    before, copied = mapping._parts[0], 0
    for number in range(1000):
        mapping = mapping.put(record(f"n{number}", 2))
        shared, aside = mapping._parts
        copied += len(aside) if shared is before else len(shared)
        before = shared
    assert copied / 1000 <= 3 * 10_000**0.5
    assert len(mapping) == 10_000
