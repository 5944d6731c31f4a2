-- The statements are those that SQLite and PostgreSQL both understand. Times are milliseconds since 1970; a body is JSON.

-- The objects that serve now, as the newest revision has them.
CREATE TABLE object (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (kind, name)
);

-- Who changed what, and when. The numbers have no gaps: each revision names the one that it follows by its own.
CREATE TABLE revision (
    number BIGINT PRIMARY KEY,
    created_at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    summary TEXT NOT NULL,
    hash TEXT NOT NULL,
    file_hash TEXT
);

-- What a revision did to each object: its bodies before and after, one of which is absent if it was added or removed.
CREATE TABLE change (
    revision BIGINT NOT NULL REFERENCES revision (number),
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    name_before TEXT,
    name TEXT NOT NULL,
    before TEXT,
    after TEXT,
    PRIMARY KEY (revision, id)
);
CREATE INDEX change_of_object ON change (id, revision);

-- The tokens of the API, known by their digests alone.
CREATE TABLE token (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT
);

-- Whatever was done, whether it made a revision or not.
CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    role TEXT NOT NULL,
    address TEXT,
    action TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    before TEXT,
    after TEXT,
    revision BIGINT
);

-- Instances that registered themselves. A heartbeat renews one, and makes no revision.
CREATE TABLE registration (
    service TEXT NOT NULL,
    target TEXT NOT NULL,
    weight BIGINT NOT NULL,
    metadata TEXT NOT NULL,
    ttl_ms BIGINT,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (service, target)
);

-- The gateways that share this store.
CREATE TABLE node (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    version TEXT NOT NULL,
    revision BIGINT NOT NULL,
    hash TEXT NOT NULL,
    fault TEXT,
    seen_at BIGINT NOT NULL
);

-- Answers that a repeated write gets again.
CREATE TABLE answer (
    token TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,
    status BIGINT NOT NULL,
    body TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (token, key)
);
