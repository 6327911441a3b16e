-- Versions are counted from 1 for each script, whatever the clock says.
ALTER TABLE versions ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
UPDATE versions SET number = (
  SELECT count(*) FROM versions AS older
  WHERE older.namespace = versions.namespace AND older.name = versions.name
    AND older.rowid <= versions.rowid
);
DROP INDEX versions_by_script;
CREATE UNIQUE INDEX versions_by_script ON versions (namespace, name, number);

-- Which version was made to serve, and when; the newest row of a script is what serves.
CREATE TABLE deployments (
  number       INTEGER PRIMARY KEY AUTOINCREMENT,
  id           TEXT NOT NULL UNIQUE,
  namespace    TEXT NOT NULL,
  name         TEXT NOT NULL,
  version_id   TEXT NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
  created_ms   INTEGER NOT NULL,
  triggered_by TEXT NOT NULL,
  message      TEXT NOT NULL
);
CREATE INDEX deployments_by_script ON deployments (namespace, name, number);
CREATE INDEX deployments_by_version ON deployments (version_id);
INSERT INTO deployments (id, namespace, name, version_id, created_ms, triggered_by, message)
  SELECT lower(hex(randomblob(16))), namespace, name, version_id, modified_ms, 'upload', ''
  FROM scripts WHERE version_id IN (SELECT id FROM versions);
