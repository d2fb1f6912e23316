"""What can go wrong with a maildrop. Adapters translate their libraries' exceptions into these."""

from bridge.maildrop.model import LockPolicy


class MaildropError(Exception):
    """Root of this room's errors."""


class NoSuchMaildrop(MaildropError):
    """The maildrop or view is not there (any more)."""


class PrefixTaken(MaildropError):
    """The prefix contains, equals or lies within one that another maildrop or a trash uses."""


class MaildropInUse(MaildropError):
    """Another session holds the lease of this view; `lock_policy` says whether asking again makes sense."""

    def __init__(self, lock_policy: LockPolicy) -> None:
        super().__init__("another session holds the lease")
        self.lock_policy = lock_policy


class LoginTooSoon(MaildropError):
    """The login delay of this view has not passed yet."""


class LeaseLost(MaildropError):
    """The lease is somebody else's now; nothing was changed."""


class MaildropBeingPrepared(MaildropError):
    """A mailbox with a past is not served before its index is complete."""


class ObjectGone(MaildropError):
    """The object is not there."""


class ObjectChanged(MaildropError):
    """Another object stands under the key, or the object turned out other than announced."""


class ObjectUnreadable(MaildropError):
    """The store or the object itself will not let it be read, and a retry will not cure that."""


class ObjectDamaged(ObjectUnreadable):
    """What the object holds cannot be served as mail: ciphertext, or a compressed stream that is broken."""


class StoreUnavailable(MaildropError):
    """S3 or Postgres does not answer as it should; a retry may cure it."""


class OutcomeUnknown(StoreUnavailable):
    """The connection broke around the commit: it may have happened or not."""
