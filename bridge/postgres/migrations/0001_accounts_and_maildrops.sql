-- A maildrop: a bucket, a key prefix, a layout. Order and prefix comparisons are byte-wise everywhere.
CREATE TABLE maildrop (
    maildrop_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bucket          text NOT NULL,
    key_prefix      text COLLATE "C" NOT NULL CHECK (key_prefix = '' OR right(key_prefix, 1) = '/'),
    layout          text NOT NULL CHECK (layout IN ('objects', 'ses', 'maildir', 'mbox')),
    history         text NOT NULL CHECK (history IN ('new', 'existing')),
    lock_policy     text NOT NULL CHECK (lock_policy IN ('refuse', 'wait', 'takeover', 'shared-readonly')),
    removal_policy  text NOT NULL CHECK (removal_policy IN ('delete', 'trash', 'hide')),
    trash_prefix    text COLLATE "C",
    index_version   bigint NOT NULL DEFAULT 0,  -- grows with every change of what the maildrop shows
    synced_at       timestamptz,                -- start of the last listing that was indexed to its end
    sync_tried_at   timestamptz,                -- the same, or the last time that a worker took it up
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (bucket, key_prefix)
);
CREATE INDEX maildrop_sync_tried_at ON maildrop (sync_tried_at NULLS FIRST);

-- A way into a maildrop, with a lease of its own. Narrow, and no index on what changes with every login, so that
-- updates stay on their page (HOT).
CREATE TABLE view (
    maildrop_id       bigint NOT NULL REFERENCES maildrop ON DELETE CASCADE,
    view_id           bigint GENERATED ALWAYS AS IDENTITY,
    name              text NOT NULL DEFAULT '',
    window_rule       text,
    dele_means        text NOT NULL DEFAULT 'delete' CHECK (dele_means IN ('delete', 'hide')),
    fencing_token     bigint NOT NULL DEFAULT 0,
    lease_holder      uuid,
    lease_expires_at  timestamptz,
    last_active_at    timestamptz,
    last_login_at     timestamptz,
    last_quit_at      timestamptz,
    PRIMARY KEY (maildrop_id, view_id),
    UNIQUE (maildrop_id, name)
) WITH (fillfactor = 50);

CREATE TABLE account (
    account_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    login_name       text COLLATE "C" NOT NULL UNIQUE,
    maildrop_id      bigint NOT NULL,
    view_id          bigint NOT NULL,
    status           text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    argon2_verifier  text,
    scram_verifiers  jsonb NOT NULL DEFAULT '{}',
    login_delay_s    integer NOT NULL DEFAULT 0 CHECK (login_delay_s >= 0),
    expire_days      integer CHECK (expire_days >= 0),  -- null: NEVER
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (maildrop_id, view_id) REFERENCES view ON DELETE CASCADE
);
CREATE INDEX account_view ON account (maildrop_id, view_id);

-- Failed logins per network and account. The name is kept as a digest only.
CREATE TABLE login_failure (
    name_digest    bytea NOT NULL,
    network        cidr NOT NULL,
    window_start   timestamptz NOT NULL,
    failure_count  integer NOT NULL DEFAULT 0,
    last_wrong     integer,  -- 16 bits of a keyed digest of the last wrong password
    PRIMARY KEY (name_digest, network, window_start)
);
CREATE INDEX login_failure_network ON login_failure (network, window_start);
