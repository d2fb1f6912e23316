"""Rows that several stores of this room read, as the model of the maildrop room has them."""

import asyncpg

from bridge.ids import MaildropId, MessageId
from bridge.maildrop.model import History, Layout, LockPolicy, Maildrop, ObjectRef, Removal, RemovalPolicy

MAILDROP_COLUMNS = """
    maildrop.maildrop_id, maildrop.bucket, maildrop.key_prefix, maildrop.layout, maildrop.history,
    maildrop.lock_policy, maildrop.removal_policy, maildrop.trash_prefix,
    maildrop.synced_at IS NOT NULL AS is_indexed, maildrop.index_version
"""
REMOVAL_COLUMNS = """
    removal.maildrop_id, removal.message_id, removal.policy, removal.bucket, removal.object_key, removal.etag,
    removal.version_id, removal.stored_octets, removal.attempt_count
"""


def maildrop_of(row: asyncpg.Record) -> Maildrop:
    return Maildrop(
        maildrop_id=MaildropId(row["maildrop_id"]),
        bucket=row["bucket"],
        key_prefix=row["key_prefix"],
        layout=Layout(row["layout"]),
        history=History(row["history"]),
        lock_policy=LockPolicy(row["lock_policy"]),
        removal_policy=RemovalPolicy(row["removal_policy"]),
        trash_prefix=row["trash_prefix"],
        is_indexed=row["is_indexed"],
        index_version=row["index_version"],
    )


def removal_of(row: asyncpg.Record) -> Removal:
    return Removal(
        maildrop_id=MaildropId(row["maildrop_id"]),
        message_id=MessageId(row["message_id"]),
        policy=RemovalPolicy(row["policy"]),
        ref=ObjectRef(row["bucket"], row["object_key"], row["etag"], row["version_id"]),
        stored_octets=row["stored_octets"],
        attempt_count=row["attempt_count"],
    )
