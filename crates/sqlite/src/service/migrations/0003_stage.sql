-- The stage grows at its end: a first copy of a large collection arrives by rising generations, not by keys. What an older
-- program staged is fetched again.

DROP TABLE haversack_stage;
CREATE TABLE haversack_stage (
  collection INTEGER NOT NULL,
  global_id TEXT NOT NULL,
  kind INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  body TEXT
);
CREATE UNIQUE INDEX haversack_stage_key ON haversack_stage (collection, global_id);
CREATE INDEX haversack_stage_order ON haversack_stage (collection, generation);
UPDATE haversack_upstreams SET walk = NULL, base = 0;
