-- Entries older than since_ms may be removed, and nothing else ever: the operator's retention moves it.
CREATE TABLE audit_kept (only INTEGER PRIMARY KEY CHECK (only = 1), since_ms INTEGER NOT NULL);
INSERT INTO audit_kept VALUES (1, 0);
DROP TRIGGER audit_is_not_removed;
CREATE TRIGGER audit_is_not_removed BEFORE DELETE ON audit
  WHEN OLD.at_ms >= COALESCE((SELECT since_ms FROM audit_kept), 0)
  BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
