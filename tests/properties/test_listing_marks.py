"""A drop listing with marks behaves as a plain list of messages would."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge.pop3.listing import DropListing
from tests.pop3.driver import ColumnListing


class DropListingMachine(RuleBasedStateMachine):
    @initialize(octets=st.lists(st.integers(0, 2**40), max_size=30))
    def open(self, octets: list[int]) -> None:
        self.rows = [(number, size, f"u{number}") for number, size in enumerate(octets, 1)]
        self.marked: set[int] = set()
        self.drop = DropListing(ColumnListing(octets, [uidl for _, _, uidl in self.rows]))

    @precondition(lambda self: len(self.marked) < len(self.rows))
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from([number for number, _, _ in self.rows if number not in self.marked]))
        assert self.drop.has(number)
        self.drop.delete(number)
        self.marked.add(number)

    @rule()
    def reset(self) -> None:
        self.drop.reset()
        self.marked.clear()

    @invariant()
    def it_shows_what_is_not_marked(self) -> None:
        shown = [row for row in self.rows if row[0] not in self.marked]
        assert self.drop.message_count == len(shown)
        assert self.drop.total_octets == sum(octets for _, octets, _ in shown)
        assert self.drop.deleted_numbers == tuple(sorted(self.marked))
        assert b"".join(self.drop.list_lines()) == b"".join(b"%d %d\r\n" % row[:2] for row in shown)
        assert b"".join(self.drop.uidl_lines()) == "".join(f"{row[0]} {row[2]}\r\n" for row in shown).encode()
        for number in range(len(self.rows) + 2):
            assert self.drop.has(number) == any(row[0] == number for row in shown)
            assert self.drop.was_deleted(number) == (number in self.marked)


DropListingMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=15, deadline=None)
TestDropListing = DropListingMachine.TestCase
