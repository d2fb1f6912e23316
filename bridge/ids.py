"""Identities that more than one room speaks of. Nothing else belongs here."""

from typing import NewType

AccountId = NewType("AccountId", int)
MaildropId = NewType("MaildropId", int)
ViewId = NewType("ViewId", int)
MessageId = NewType("MessageId", int)
FencingToken = NewType("FencingToken", int)
Uidl = NewType("Uidl", str)
