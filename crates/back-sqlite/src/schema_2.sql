-- Version 2: what a search and a purge read.

-- When a run was put into the bin, while it is there.
ALTER TABLE run ADD COLUMN binned INTEGER;
UPDATE run SET binned = coalesce(end, start) WHERE stage = 'deleted';
CREATE INDEX run_binned ON run (id, binned) WHERE binned IS NOT NULL;

-- The runs of an experiment in the default order of a search, those in the bin apart.
DROP INDEX run_newest;
CREATE INDEX run_place ON run (experiment, stage, start DESC, id);

-- One key of all runs is one range, in the order of the runs: a filter or an order reads it from end to end and nothing else. The
-- value stands behind the run, so that a newer value of a metric changes the entry where it is.
CREATE INDEX latest_of_key ON latest (key, run, bits);
CREATE INDEX param_of_key ON param (key, run, value);
CREATE INDEX tag_of_key ON tag (key, run, value);
-- The same of datasets: their bodies, which may be long, are not read.
CREATE INDEX input_parts ON input (name, digest, context, run);

-- The words of runs, for full-text search, by the number of the run; the texts are not kept a second time. Words come in lower case
-- and separated by blanks (ports::text), so that the plain tokenizer takes each of them as it is.
CREATE VIRTUAL TABLE run_text USING fts5 (words, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii');
-- Runs whose words have changed since: a search reads them one by one until the writer has found the time.
CREATE TABLE unindexed (
    run INTEGER PRIMARY KEY
);
INSERT INTO unindexed SELECT num FROM run;

-- Purged runs whose points are still to be deleted, a few at a time, so that nobody waits for it. Their numbers are not given again.
CREATE TABLE purged (
    run INTEGER PRIMARY KEY
);
