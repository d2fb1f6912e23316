-- One row for each message that was ever indexed. Removed and vanished rows stay as tombstones: they keep their UIDL.
CREATE TABLE message (
    maildrop_id         bigint NOT NULL REFERENCES maildrop ON DELETE CASCADE,
    message_id          bigint GENERATED ALWAYS AS IDENTITY,
    identity            text COLLATE "C" NOT NULL,   -- what stays the same when the key moves
    part                integer NOT NULL DEFAULT 0,  -- 0: the whole object; 1, 2, ...: slices of an mbox
    object_key          text COLLATE "C" NOT NULL,   -- the current one
    etag                text NOT NULL,
    version_id          text,
    stored_octets       bigint NOT NULL,             -- of the whole object
    first_octet         bigint,                      -- of a slice; null: the whole object
    slice_octets        bigint,
    encoding            text NOT NULL,
    uidl                text COLLATE "C" NOT NULL CHECK (uidl ~ '^[!-~]{1,70}$'),
    octets              bigint NOT NULL,             -- canonical length: what LIST says
    header_octets       bigint NOT NULL,
    text_octets         bigint NOT NULL,             -- after decompression, before canonicalising
    text_header_octets  bigint NOT NULL,
    is_canonical        boolean NOT NULL,
    has_dot_lines       boolean NOT NULL,
    has_utf8_headers    boolean NOT NULL,
    digest              bytea NOT NULL,              -- SHA-256 of the canonical text
    arrived_at          timestamptz NOT NULL,        -- Last-Modified at first indexing, frozen
    indexed_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    retrieved_at        timestamptz,
    removed_at          timestamptz,
    vanished_at         timestamptz,
    PRIMARY KEY (maildrop_id, message_id),
    UNIQUE (maildrop_id, uidl)
);
-- No identity shows twice.
CREATE UNIQUE INDEX message_live_identity ON message (maildrop_id, identity, part)
    WHERE removed_at IS NULL AND vanished_at IS NULL;
CREATE INDEX message_identity ON message (maildrop_id, identity, message_id);
-- The order of a drop, with all that a snapshot needs.
CREATE INDEX message_drop_order ON message (maildrop_id, arrived_at, identity, part) INCLUDE (message_id, octets, uidl)
    WHERE removed_at IS NULL AND vanished_at IS NULL;

-- Messages that a view has retrieved: a set, never a high-water mark.
CREATE TABLE seen (
    maildrop_id  bigint NOT NULL,
    view_id      bigint NOT NULL,
    message_id   bigint NOT NULL,
    seen_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (maildrop_id, view_id, message_id),
    FOREIGN KEY (maildrop_id, view_id) REFERENCES view ON DELETE CASCADE
);

-- The outbox: one row for each removed message, written by the transaction that removes it, kept beside the tombstone.
CREATE TABLE removal (
    maildrop_id    bigint NOT NULL,
    message_id     bigint NOT NULL,
    policy         text NOT NULL CHECK (policy IN ('delete', 'trash', 'hide')),
    bucket         text NOT NULL,
    object_key     text COLLATE "C" NOT NULL,
    etag           text NOT NULL,
    version_id     text,
    stored_octets  bigint NOT NULL,
    due_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempt_count  integer NOT NULL DEFAULT 0,
    claimed_until  timestamptz,
    confirmed_at   timestamptz,
    last_error     text,
    removed_by     uuid NOT NULL,  -- the lease's holder: tells whether a commit whose answer was lost has happened
    PRIMARY KEY (maildrop_id, message_id),
    FOREIGN KEY (maildrop_id, message_id) REFERENCES message ON DELETE CASCADE
);
CREATE INDEX removal_due ON removal (due_at) WHERE confirmed_at IS NULL;

-- Objects that belong to several maildrops, and the rows that use them.
CREATE TABLE shared_object (
    bucket       text NOT NULL,
    object_key   text COLLATE "C" NOT NULL,
    maildrop_id  bigint NOT NULL,
    message_id   bigint NOT NULL,
    PRIMARY KEY (bucket, object_key, maildrop_id, message_id),
    FOREIGN KEY (maildrop_id, message_id) REFERENCES message ON DELETE CASCADE
);
