-- Version 3: long histories that are read in no time.

-- The points of a long history once more, 1024 of them in one value: from the first point on without a gap, as far as there are
-- enough of them. A chart reads these and the few points behind the last of them.
CREATE TABLE stretch (
    num      INTEGER PRIMARY KEY,
    run      INTEGER NOT NULL,
    key      INTEGER NOT NULL, -- word
    time     INTEGER NOT NULL, -- of the last point, as are step and bits
    step     INTEGER NOT NULL,
    bits     INTEGER NOT NULL,
    body     BLOB    NOT NULL, -- step, time and bits of each point, eight bytes each, the lowest first
    UNIQUE (run, key, time, step, bits)
);

-- Histories that have grown so much that more of them can be put together; the writer does it when nobody waits.
CREATE TABLE unsealed (
    run INTEGER NOT NULL,
    key INTEGER NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;
INSERT INTO unsealed SELECT run, key FROM point GROUP BY run, key HAVING count(*) >= 2048;
