-- The answer to a batch is kept before the next batch is sent, and settled later.
CREATE TABLE haversack_answers (number INTEGER PRIMARY KEY, reply TEXT NOT NULL);
-- Versions that answers brought lie together, beside the large tables of versions.
CREATE TABLE haversack_recent (
  collection INTEGER NOT NULL,
  global_id TEXT NOT NULL,
  revision INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  was_revision INTEGER NOT NULL,
  was_generation INTEGER NOT NULL,
  PRIMARY KEY (collection, global_id)
) WITHOUT ROWID;
