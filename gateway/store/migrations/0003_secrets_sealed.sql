-- A version's secrets, encrypted under the key of that id. key_id: NULL, not sealed yet (the
-- document still has them in clear; done when the store opens); empty, the version has none.
ALTER TABLE versions ADD COLUMN sealed BLOB;
ALTER TABLE versions ADD COLUMN key_id TEXT;
CREATE INDEX versions_by_key ON versions (key_id);
