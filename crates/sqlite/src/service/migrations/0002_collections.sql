-- Document collections, and collections that are kept equal between servers.

-- The primary's generation of a record in a copy; none where the record was edited here since.
ALTER TABLE haversack_track ADD COLUMN up_generation INTEGER;
CREATE INDEX haversack_track_up ON haversack_track (collection, up_generation) WHERE up_generation IS NOT NULL;

-- Who reads a generation over several transactions: history above it stays until then.
CREATE TABLE haversack_pins (
  id TEXT PRIMARY KEY,
  generation INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Changes of a copy that wait until they are proven. Kind: 0 a document, 1 a tombstone, 2 the primary does not have what
-- is here, 3 what is here is equal and has this generation.
CREATE TABLE haversack_stage (
  collection INTEGER NOT NULL,
  global_id TEXT NOT NULL,
  kind INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  body TEXT,
  PRIMARY KEY (collection, global_id)
) WITHOUT ROWID;
CREATE INDEX haversack_stage_order ON haversack_stage (collection, generation);

-- Sums over the items of a collection. Side 0: by the generations here; side 1: by those of the primary.
CREATE TABLE haversack_summaries (
  collection INTEGER NOT NULL,
  side INTEGER NOT NULL,
  fp_key BLOB NOT NULL,
  bits INTEGER NOT NULL,
  stale INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (collection, side)
) WITHOUT ROWID;
CREATE TABLE haversack_sums (
  collection INTEGER NOT NULL,
  side INTEGER NOT NULL,
  level INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  items INTEGER NOT NULL,
  high INTEGER NOT NULL,
  low INTEGER NOT NULL,
  PRIMARY KEY (collection, side, level, idx)
) WITHOUT ROWID;
-- Items that edits of other programs added to a collection or took from it, until they are folded into its sums.
CREATE TABLE haversack_unfolded (
  collection INTEGER NOT NULL,
  side INTEGER NOT NULL,
  global_id TEXT NOT NULL,
  generation INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  sign INTEGER NOT NULL
);
CREATE INDEX haversack_unfolded_collection ON haversack_unfolded (collection);

-- Where a copy stands: `unnumbered` says that a record may have no generation of the primary, `base` how much of the copy
-- counts while the stage is filled, `walk` what an interrupted synchronisation goes on with.
CREATE TABLE haversack_upstreams (
  collection INTEGER PRIMARY KEY,
  history TEXT,
  since INTEGER NOT NULL DEFAULT 0,
  floor INTEGER NOT NULL DEFAULT 0,
  proven_items INTEGER,
  proven_high INTEGER,
  proven_low INTEGER,
  unnumbered INTEGER NOT NULL DEFAULT 1,
  base INTEGER NOT NULL DEFAULT 0,
  walk TEXT
);
