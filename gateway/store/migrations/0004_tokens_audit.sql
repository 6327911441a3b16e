-- What a token may do, for which script, until when; when it was last used, to about a minute.
ALTER TABLE tokens ADD COLUMN scope TEXT NOT NULL DEFAULT 'deploy';
ALTER TABLE tokens ADD COLUMN script TEXT;
ALTER TABLE tokens ADD COLUMN expires_ms INTEGER;
ALTER TABLE tokens ADD COLUMN used_ms INTEGER;
UPDATE tokens SET scope = 'admin' WHERE tenant IS NULL;

-- Who changed what; document is the rest of the entry as JSON.
CREATE TABLE audit (
  number   INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms    INTEGER NOT NULL,
  tenant   TEXT,
  actor    TEXT NOT NULL,
  action   TEXT NOT NULL,
  target   TEXT NOT NULL,
  document BLOB NOT NULL
);
CREATE INDEX audit_by_tenant ON audit (tenant, number);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_not_removed BEFORE DELETE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
