-- What the client of a server keeps for itself, such as the job that works on an upload.
CREATE TABLE haversack_notes (
  topic TEXT NOT NULL,
  name TEXT NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY (topic, name)
) WITHOUT ROWID;
