-- Whether a script's versions answer on hostnames of their own, and when its code is called unasked:
-- a list of expressions as JSON.
ALTER TABLE scripts ADD COLUMN previews INTEGER NOT NULL DEFAULT 1;
ALTER TABLE scripts ADD COLUMN crons TEXT NOT NULL DEFAULT '[]';
CREATE INDEX scripts_with_crons ON scripts (tenant) WHERE crons <> '[]';

-- The last minute (of Unix time) whose schedules a node took upon itself to run.
CREATE TABLE schedule_minute (
  one    INTEGER PRIMARY KEY CHECK (one = 1),
  minute INTEGER NOT NULL
);
INSERT INTO schedule_minute VALUES (1, 0);
