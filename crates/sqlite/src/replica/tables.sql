-- Tables of a replica file that do not belong to one layer. Texts are readable on purpose.
CREATE TABLE haversack_header (name TEXT PRIMARY KEY NOT NULL, value TEXT);
CREATE TABLE haversack_layers (
  collection INTEGER PRIMARY KEY,
  table_name TEXT NOT NULL,
  name TEXT NOT NULL,
  definition TEXT NOT NULL
);
-- What must be in the file for edits to be captured.
CREATE TABLE haversack_objects (
  collection INTEGER NOT NULL,
  type TEXT NOT NULL,
  name TEXT NOT NULL,
  sql TEXT NOT NULL,
  PRIMARY KEY (type, name)
) WITHOUT ROWID;
-- One row: grows with every edit.
CREATE TABLE haversack_counter (edit_no INTEGER NOT NULL);
INSERT INTO haversack_counter VALUES (0);
-- A row here switches capture off, within one transaction only.
CREATE TABLE haversack_writer (note TEXT);
-- Identity of the row that the present INSERT replaces.
CREATE TABLE haversack_replaced (collection INTEGER NOT NULL, fid INTEGER NOT NULL, global_id TEXT);
-- One row per record that was edited here and is not settled. The *_row columns are numbers in haversack_kept_<layer>.
CREATE TABLE haversack_outbox (
  collection INTEGER NOT NULL,
  global_id TEXT NOT NULL,
  edit_no INTEGER NOT NULL,
  state TEXT NOT NULL,
  deleted INTEGER NOT NULL DEFAULT 0,
  fid INTEGER,
  base_row INTEGER,
  base_revision INTEGER,
  base_generation INTEGER,
  theirs TEXT NOT NULL DEFAULT 'UNCHANGED',
  theirs_row INTEGER,
  theirs_revision INTEGER,
  theirs_generation INTEGER,
  batch INTEGER,
  frozen_no INTEGER,
  sent TEXT,
  sent_row INTEGER,
  reason TEXT,
  PRIMARY KEY (collection, global_id)
) WITHOUT ROWID;
CREATE INDEX haversack_outbox_order ON haversack_outbox (edit_no);
CREATE INDEX haversack_outbox_batch ON haversack_outbox (batch) WHERE batch IS NOT NULL;
CREATE INDEX haversack_outbox_deleted ON haversack_outbox (collection, fid) WHERE deleted = 1;
-- Newer than the versions in haversack_version_<layer>: those that answers to uploads brought.
CREATE TABLE haversack_recent (
  collection INTEGER NOT NULL,
  global_id TEXT NOT NULL,
  revision INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  was_revision INTEGER NOT NULL,
  was_generation INTEGER NOT NULL,
  PRIMARY KEY (collection, global_id)
) WITHOUT ROWID;
-- Batches that are not settled.
CREATE TABLE haversack_batches (
  number INTEGER PRIMARY KEY,
  history TEXT NOT NULL,
  generation INTEGER NOT NULL,
  edits TEXT NOT NULL,
  seal TEXT
);
-- Answers to batches that are not settled yet.
CREATE TABLE haversack_answers (number INTEGER PRIMARY KEY, reply TEXT NOT NULL);
-- What the server answered, with the edit that it answers.
CREATE TABLE haversack_receipts (
  no INTEGER PRIMARY KEY,
  generation INTEGER NOT NULL,
  collection INTEGER NOT NULL,
  global_id TEXT NOT NULL,
  outcome TEXT NOT NULL,
  edit TEXT NOT NULL,
  receipt TEXT NOT NULL
);
CREATE INDEX haversack_receipts_generation ON haversack_receipts (generation);
CREATE TABLE haversack_conflicts (
  id TEXT PRIMARY KEY NOT NULL,
  collection INTEGER NOT NULL,
  global_id TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  kind TEXT NOT NULL,
  fields TEXT NOT NULL,
  winner TEXT NOT NULL,
  reason TEXT NOT NULL,
  kept TEXT,
  conflict TEXT NOT NULL
);
CREATE INDEX haversack_conflicts_order ON haversack_conflicts (at_ms, id);
-- Content of attachments, by hash.
CREATE TABLE haversack_blobs (sha256 TEXT PRIMARY KEY NOT NULL, content BLOB NOT NULL);
-- What the client of a server keeps for itself, such as the job that works on an upload.
CREATE TABLE haversack_notes (
  topic TEXT NOT NULL,
  name TEXT NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY (topic, name)
) WITHOUT ROWID;
