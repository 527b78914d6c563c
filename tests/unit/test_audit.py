"""The audit's comparison, over made-up chains."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consumidor.people.audit import GENESIS, Head, Link, compare

FIELDS = ("request_id", "person", "purpose", "at", "previous_hash", "hash")


def chain(client: str, length: int) -> list[Link]:
    """A true chain."""
    links, previous = [], GENESIS
    for position in range(1, length + 1):
        link = Link(client, f"{client}-{position}", f"{position:032x}", "credit", 1_700_000_000_000_000 + position, position, previous, b"")
        links.append(link._replace(hash=link.expected_hash()))
        previous = links[-1].hash
    return links


def heads(*chains: list[Link]) -> dict[str, Head]:
    """The heads of chains, none of them empty."""
    return {links[-1].client: Head(links[-1].client, links[-1].position, links[-1].hash) for links in chains}


@given(st.integers(1, 12), st.integers(1, 12))
def test_true_chains_are_clean(first: int, second: int) -> None:
    """Any two chains, side by side."""
    one, two = chain("a", first), chain("b", second)
    audit = compare(one + two, heads(one, two), {"a": {1: {one[0].hash}}})
    assert (audit.rows, audit.clients, audit.checkpoints, audit.differences) == (first + second, 2, 1, [])


@given(st.integers(1, 12), st.data())
def test_any_changed_field_shows(length: int, data: st.DataObject) -> None:
    """One field of one row, changed to anything else."""
    links = chain("a", length)
    head = heads(links)
    row, field = data.draw(st.integers(0, length - 1)), data.draw(st.sampled_from(FIELDS))
    old = getattr(links[row], field)
    new = {int: st.integers(0, 2**60), str: st.text(max_size=40), bytes: st.binary(min_size=32, max_size=32)}[type(old)]
    changed: Any = {field: data.draw(new.filter(lambda value: value != old))}
    links[row] = links[row]._replace(**changed)
    assert compare(links, head, {}).differences


@given(st.integers(2, 12), st.data())
def test_any_missing_or_moved_row_shows(length: int, data: st.DataObject) -> None:
    """One row taken out, or two that change places, at any position, the last included."""
    links = chain("a", length)
    head = heads(links)
    first, second = data.draw(st.lists(st.integers(0, length - 1), min_size=2, max_size=2, unique=True))
    missing = links[:first] + links[first + 1 :]
    links[first], links[second] = links[second]._replace(position=first + 1), links[first]._replace(position=second + 1)
    assert compare(missing, head, {}).differences
    assert compare(links, head, {}).differences
