from bridge.pop3.listing import DropListing
from tests.pop3.driver import ColumnListing


def drop_of(count: int) -> DropListing:
    return DropListing(ColumnListing(range(100, 100 + count), [f"u{number}" for number in range(1, count + 1)]))


def test_a_marked_message_is_in_no_listing_and_the_numbers_stay() -> None:
    drop = drop_of(5)
    drop.delete(5)
    drop.delete(1)
    assert (drop.message_count, drop.total_octets) == (3, 101 + 102 + 103)
    assert b"".join(drop.list_lines()) == b"2 101\r\n3 102\r\n4 103\r\n"
    assert b"".join(drop.uidl_lines()) == b"2 u2\r\n3 u3\r\n4 u4\r\n"
    assert drop.deleted_numbers == (1, 5)
    assert [drop.has(number) for number in range(7)] == [False, False, True, True, True, False, False]
    assert [drop.was_deleted(number) for number in range(7)] == [False, True, False, False, False, True, False]


def test_reset_takes_all_marks_away() -> None:
    drop = drop_of(2)
    drop.delete(1)
    drop.delete(2)
    assert (drop.message_count, drop.total_octets, b"".join(drop.list_lines())) == (0, 0, b"")
    drop.reset()
    assert (drop.message_count, drop.total_octets, drop.deleted_numbers) == (2, 201, ())


def test_a_long_listing_comes_in_batches_of_bounded_size_and_leaves_nothing_out() -> None:
    drop = drop_of(2_500)
    batches = list(drop.uidl_lines())
    assert [batch.count(b"\r\n") for batch in batches] == [1_000, 1_000, 500]
    assert b"".join(batches) == b"".join(b"%d u%d\r\n" % (number, number) for number in range(1, 2_501))


def test_octets_beyond_four_gibibytes_are_plain_numbers() -> None:
    drop = DropListing(ColumnListing([5_000_000_000] * 3, ["a", "b", "c"]))
    assert drop.total_octets == 15_000_000_000
    assert b"".join(drop.list_lines()) == b"1 5000000000\r\n2 5000000000\r\n3 5000000000\r\n"
