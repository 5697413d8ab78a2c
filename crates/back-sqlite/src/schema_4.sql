-- Version 4: documents by number, found by a small index.

-- SQLite reads an entry of an index whole when it compares keys, and a table WITHOUT ROWID is an index: a search for a small document
-- that came by a large one read that too, all of it.
CREATE TABLE document_by_number (
    num        INTEGER PRIMARY KEY,
    collection TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    revision   INTEGER NOT NULL,
    body       TEXT    NOT NULL,
    UNIQUE (collection, key)
);
INSERT INTO document_by_number (collection, key, revision, body)
    SELECT collection, key, revision, body FROM document ORDER BY collection, key;
DROP TABLE document;
ALTER TABLE document_by_number RENAME TO document;
