import struct

import pytest

from bridge.maildrop.snapshot import Snapshot


def column(*values: int) -> bytes:
    return struct.pack(f">{len(values)}q", *values)


def snapshot(octets: list[int], uidls: list[str]) -> Snapshot:
    return Snapshot(
        index_version=7,
        message_ids=column(*range(101, 101 + len(octets))),
        octets=column(*octets),
        uidls="\n".join(uidls).encode(),
    )


def test_numbers_count_from_one_and_point_into_the_columns() -> None:
    drop = snapshot([5, 70_000_000_000], ["a" * 26, "b" * 26])
    assert (drop.count, drop.total_octets, drop.index_version) == (2, 70_000_000_005, 7)
    assert [drop.message_id(1), drop.message_id(2)] == [101, 102]
    assert drop.octets(2) == 70_000_000_000
    assert drop.uidl(2) == "b" * 26


def test_an_empty_maildrop_has_nothing() -> None:
    drop = snapshot([], [])
    assert (drop.count, drop.total_octets, list(drop.message_ids(1, 0))) == (0, 0, [])


def test_ranges_hold_both_ends() -> None:
    uidls = [letter * 26 for letter in "abcd"]
    drop = snapshot([1, 2, 3, 4], uidls)
    assert list(drop.octets_range(2, 3)) == [2, 3]
    assert drop.uidl_range(2, 3) == uidls[1:3]
    assert drop.uidl_range(1, 4) == uidls
    assert drop.message_ids(3, 4) == [103, 104]


@pytest.mark.parametrize(
    "uidls",
    [
        ["x"],
        ["x", "y" * 70, "z" * 26],
        ["a" * 25, "b" * 27],  # as long in sum as two of ours
        ["a" * 26, "imported-1.2@example"],
    ],
)
def test_imported_uidls_of_any_length_are_served(uidls: list[str]) -> None:
    drop = snapshot([1] * len(uidls), uidls)
    assert [drop.uidl(number) for number in range(1, len(uidls) + 1)] == uidls
    assert drop.uidl_range(1, len(uidls)) == uidls


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        Snapshot(index_version=1, message_ids=column(1, 2), octets=column(1), uidls=b"a\nb")
    with pytest.raises(ValueError, match="differ in length"):
        Snapshot(index_version=1, message_ids=column(1, 2), octets=column(1, 2), uidls=b"a")


def test_a_hundred_thousand_messages_take_under_five_megabytes() -> None:
    count = 100_000
    drop = snapshot([1] * count, ["u" * 26] * count)
    assert drop.memory_octets < 5_000_000
