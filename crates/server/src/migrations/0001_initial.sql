CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;

CREATE TABLE account (
    name TEXT PRIMARY KEY COLLATE NOCASE,
    password TEXT NOT NULL,
    is_admin INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- principal: '' everybody, '*' whoever is logged in, else an account. service: '*' all of them.
CREATE TABLE access (
    principal TEXT NOT NULL COLLATE NOCASE,
    service TEXT NOT NULL,
    rights TEXT NOT NULL,
    filters TEXT NOT NULL,
    PRIMARY KEY (principal, service)
) STRICT;

CREATE TABLE token (
    hash BLOB PRIMARY KEY,
    account TEXT NOT NULL COLLATE NOCASE,
    epoch INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX token_expiry ON token (expires_at);

CREATE TABLE job (
    id TEXT PRIMARY KEY,
    seq INTEGER NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    owner_is_admin INTEGER NOT NULL,
    service TEXT NOT NULL,
    request TEXT NOT NULL,
    status TEXT NOT NULL,
    phase TEXT NOT NULL,
    done INTEGER NOT NULL,
    total INTEGER,
    result TEXT NOT NULL,
    starts INTEGER NOT NULL,
    submitted_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX job_status ON job (status, seq);

CREATE TABLE file (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    extension TEXT NOT NULL,
    name TEXT NOT NULL,
    content_type TEXT NOT NULL,
    note TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX file_owner ON file (owner);
