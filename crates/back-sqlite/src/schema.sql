-- Version 1. A later change is a new file in `migrate.rs`; this one is never edited once a database exists.
--
-- Times are milliseconds since 1970 in UTC. `revision` is the commit that last wrote the row.
-- Numbers are kept as `bits`, integers that sort like them (domain::OrderedNumber), because SQLite's REAL knows no NaN.

-- The one counter: commits so far.
CREATE TABLE store (
    revision INTEGER NOT NULL
);
INSERT INTO store (revision) VALUES (0);

-- Entities as JSON. The key is ID or SCOPE/ID, so that a scope is one range of the primary key.
CREATE TABLE document (
    collection TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    revision   INTEGER NOT NULL,
    body       TEXT    NOT NULL,
    PRIMARY KEY (collection, key)
) WITHOUT ROWID;

-- The newest commit that put or deleted in a collection, or in one scope of it: "nothing was added" is a read too.
-- The whole collection has the scope '/', which no scope can be.
CREATE TABLE listing (
    collection TEXT    NOT NULL,
    scope      TEXT    NOT NULL,
    revision   INTEGER NOT NULL,
    PRIMARY KEY (collection, scope)
) WITHOUT ROWID;

-- The log. `seq` has no gap: it is given inside the transaction that writes the row, and there is one writer.
CREATE TABLE event (
    seq    INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    actor  TEXT    NOT NULL, -- JSON
    cause  INTEGER,
    thread TEXT,
    body   TEXT    NOT NULL  -- JSON
);

-- How far each reader of the log has come.
CREATE TABLE cursor (
    name TEXT    PRIMARY KEY,
    seq  INTEGER NOT NULL
) WITHOUT ROWID;

-- Experiments are few: the whole entity as JSON, its unique name beside it.
CREATE TABLE experiment (
    id       TEXT    PRIMARY KEY,
    name     TEXT    NOT NULL UNIQUE,
    revision INTEGER NOT NULL,
    body     TEXT    NOT NULL
) WITHOUT ROWID;

-- Text that is repeated in millions of rows, kept once: keys of metrics, params and tags; contexts of points (JSON).
CREATE TABLE word (
    num  INTEGER PRIMARY KEY,
    text TEXT    NOT NULL UNIQUE
);

CREATE TABLE run (
    num          INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    experiment   TEXT    NOT NULL,
    revision     INTEGER NOT NULL,
    name         TEXT    NOT NULL,
    user         TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    start        INTEGER NOT NULL,
    end          INTEGER,
    stage        TEXT    NOT NULL,
    artifact_uri TEXT    NOT NULL
);
-- The default order of a search.
CREATE INDEX run_newest ON run (experiment, start DESC, id);

CREATE TABLE param (
    run   INTEGER NOT NULL,
    key   INTEGER NOT NULL, -- word
    value TEXT    NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

CREATE TABLE tag (
    run   INTEGER NOT NULL,
    key   INTEGER NOT NULL, -- word
    value TEXT    NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

-- Metric points, clustered in the order of a history. The primary key is the point's identity: a repeat is dropped.
CREATE TABLE point (
    run     INTEGER NOT NULL,
    key     INTEGER NOT NULL, -- word
    time    INTEGER NOT NULL,
    step    INTEGER NOT NULL,
    bits    INTEGER NOT NULL,
    context INTEGER,          -- word: the model and dataset that the value is about
    PRIMARY KEY (run, key, time, step, bits)
) WITHOUT ROWID;

-- The point of each key with the greatest (step, time, bits): what searches look at.
CREATE TABLE latest (
    run     INTEGER NOT NULL,
    key     INTEGER NOT NULL, -- word
    step    INTEGER NOT NULL,
    time    INTEGER NOT NULL,
    bits    INTEGER NOT NULL,
    context INTEGER,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

-- Datasets that runs read; what a filter asks for stands beside the whole.
CREATE TABLE input (
    num     INTEGER PRIMARY KEY, -- the order of arrival
    run     INTEGER NOT NULL,
    name    TEXT    NOT NULL,
    digest  TEXT    NOT NULL,
    context TEXT,
    body    TEXT    NOT NULL,    -- JSON
    UNIQUE (run, name, digest)
);

-- Logged models that runs wrote or read.
CREATE TABLE output (
    num      INTEGER PRIMARY KEY, -- the order of arrival
    run      INTEGER NOT NULL,
    model_id TEXT    NOT NULL,
    step     INTEGER NOT NULL,
    is_input INTEGER NOT NULL,
    UNIQUE (run, model_id, step, is_input)
);
