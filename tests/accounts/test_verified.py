from bridge.accounts.verified import VerifiedPasswords
from bridge.ids import AccountId


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


ALICE, BOB = AccountId(1), AccountId(2)


def test_a_password_is_known_from_its_proof_until_its_lifetime_ends() -> None:
    clock = Clock()
    verified = VerifiedPasswords(lifetime_s=300, clock=clock)
    digest = verified.digest(ALICE, "verifier", "password")
    assert not verified.knows(digest)
    verified.note(digest)
    clock.now += 299
    assert verified.knows(digest)
    clock.now += 1
    assert not verified.knows(digest)


def test_account_verifier_and_password_must_all_be_the_same() -> None:
    verified = VerifiedPasswords(lifetime_s=300, clock=Clock())
    tries = [
        (ALICE, "v", "p"),
        (BOB, "v", "p"),
        (ALICE, "w", "p"),
        (ALICE, "v", "q"),
        (ALICE, "vp", ""),
        (ALICE, None, "p"),
    ]
    assert len({verified.digest(*one) for one in tries}) == len(tries)
    assert verified.digest(ALICE, "v", "p") == verified.digest(ALICE, "v", "p")


def test_a_digest_says_nothing_to_another_process() -> None:
    one, other = (VerifiedPasswords(lifetime_s=300, clock=Clock()) for _ in range(2))
    assert one.digest(ALICE, "v", "p") != other.digest(ALICE, "v", "p")


def test_octets_that_are_no_utf8_have_a_digest_too() -> None:
    verified = VerifiedPasswords(lifetime_s=300, clock=Clock())
    assert verified.digest(None, "b\udcff", "p") != verified.digest(None, "b\udcfe", "p")


def test_the_oldest_are_forgotten_when_there_are_too_many() -> None:
    verified = VerifiedPasswords(lifetime_s=300, clock=Clock(), max_count=2)
    digests = [verified.digest(ALICE, "v", password) for password in "abc"]
    verified.note(digests[0])
    verified.note(digests[1])
    verified.note(digests[0])  # proven anew: now the younger one
    verified.note(digests[2])
    assert [verified.knows(digest) for digest in digests] == [True, False, True]


def test_without_a_lifetime_nothing_is_believed() -> None:
    verified = VerifiedPasswords(lifetime_s=0, clock=Clock())
    digest = verified.digest(ALICE, "v", "p")
    verified.note(digest)
    assert not verified.knows(digest)
