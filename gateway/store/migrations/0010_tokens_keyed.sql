-- What tokens are hashed with besides, sealed as tenants' secrets are; the hashes follow it at once.
CREATE TABLE token_key (
  only   INTEGER PRIMARY KEY CHECK (only = 1),
  sealed BLOB NOT NULL,
  key_id TEXT NOT NULL
);
