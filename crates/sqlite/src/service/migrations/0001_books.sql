-- The books of a service file: counter, tracking, replicas, replies, conflicts, blobs.

CREATE TABLE haversack_service (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  definition TEXT NOT NULL
);

-- One row. Generations are handed out by it alone, inside the transaction that writes the data.
CREATE TABLE haversack_counter (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  history TEXT NOT NULL,
  generation INTEGER NOT NULL,
  stamp INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  floor INTEGER NOT NULL,
  schema_version INTEGER NOT NULL
);

CREATE TABLE haversack_histories (
  history TEXT PRIMARY KEY,
  parent TEXT,
  fork_generation INTEGER NOT NULL,
  first_generation INTEGER NOT NULL,
  started_at INTEGER NOT NULL
);

-- One row per record, live or tombstone. `object_id` is the key of the record's row; a tombstone keeps it, or has
-- a negative one when another row took it. `content_generation` is the last change, `generation` the last change
-- or touch.
CREATE TABLE haversack_track (
  collection INTEGER NOT NULL,
  object_id INTEGER NOT NULL,
  global_id TEXT NOT NULL,
  generation INTEGER NOT NULL,
  content_generation INTEGER NOT NULL,
  stamp INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  deleted INTEGER NOT NULL DEFAULT 0,
  origin BLOB,
  PRIMARY KEY (collection, object_id)
) WITHOUT ROWID;
-- The feed. The key (collection, object_id) is part of every entry, so it reaches the record without a detour.
CREATE UNIQUE INDEX haversack_track_feed ON haversack_track (collection, generation);
CREATE UNIQUE INDEX haversack_track_tombstones ON haversack_track (collection, global_id) WHERE deleted = 1;

CREATE TABLE haversack_replicas (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  owner TEXT NOT NULL,
  cursor INTEGER NOT NULL,
  synced_at INTEGER NOT NULL,
  definition TEXT NOT NULL
);

CREATE TABLE haversack_replies (
  replica TEXT PRIMARY KEY,
  batch INTEGER NOT NULL,
  hash BLOB NOT NULL,
  reply BLOB NOT NULL
);

CREATE TABLE haversack_last_edits (
  replica TEXT NOT NULL,
  collection INTEGER NOT NULL,
  global_id TEXT NOT NULL,
  generation INTEGER NOT NULL,
  hash BLOB NOT NULL,
  sent TEXT,
  outcome TEXT NOT NULL,
  PRIMARY KEY (replica, collection, global_id)
) WITHOUT ROWID;

-- Readable with any tool, GIS programs included: the three versions are JSON objects by column name. It is the one table
-- of ours that is listed in gpkg_contents, also because GDAL lists every table of a file without `attributes`.
CREATE TABLE haversack_conflicts (
  fid INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  at INTEGER NOT NULL,
  collection INTEGER NOT NULL,
  global_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  fields TEXT NOT NULL,
  base TEXT,
  mine TEXT,
  theirs TEXT,
  policy TEXT NOT NULL,
  winner TEXT NOT NULL,
  reason TEXT NOT NULL,
  replica TEXT,
  user TEXT NOT NULL,
  generation INTEGER NOT NULL,
  resolved_at INTEGER,
  resolved_by TEXT,
  kept TEXT
);
CREATE INDEX haversack_conflicts_at ON haversack_conflicts (at, id);
INSERT INTO gpkg_contents (table_name, data_type, identifier, description)
VALUES ('haversack_conflicts', 'attributes', 'haversack_conflicts', 'Edits that clashed: base, mine, theirs and what became of them');

CREATE TABLE haversack_blobs (
  hash BLOB PRIMARY KEY,
  stored_at INTEGER NOT NULL,
  size INTEGER NOT NULL,
  content BLOB NOT NULL
);
