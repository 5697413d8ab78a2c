-- Version 2: what a search and a purge read.

-- When a run was put into the bin, while it is there.
ALTER TABLE run ADD COLUMN binned INTEGER;
UPDATE run SET binned = coalesce(end, start) WHERE stage = 'deleted';
CREATE INDEX run_binned ON run (id, binned) WHERE binned IS NOT NULL;

-- One key of all runs is one range, in the order of the runs: a filter or an order reads it from end to end and nothing else. The
-- value stands behind the run, so that a newer value of a metric changes the entry where it is.
CREATE INDEX latest_of_key ON latest (key, run, bits);
CREATE INDEX param_of_key ON param (key, run, value);
CREATE INDEX tag_of_key ON tag (key, run, value);
