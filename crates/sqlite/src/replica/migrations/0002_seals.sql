-- A frozen batch names the cursor at which it was frozen, as the server sealed it.
ALTER TABLE haversack_batches ADD COLUMN seal TEXT;
