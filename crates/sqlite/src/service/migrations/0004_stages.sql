-- What the stage of a collection is of, so that a copy by a foreign protocol that was cut goes on.

CREATE TABLE haversack_stages (
  collection INTEGER PRIMARY KEY,
  origin TEXT NOT NULL,
  named_at INTEGER NOT NULL
);
