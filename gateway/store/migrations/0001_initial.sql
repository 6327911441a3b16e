-- Routing KV: ordered keys, small values. Rows live in the key's own tree, one descent a lookup.
CREATE TABLE kv (
  key   TEXT PRIMARY KEY NOT NULL,
  value BLOB NOT NULL
) WITHOUT ROWID;

-- Hostnames by tenant. The records are JSON; a value that is not has no tenant.
CREATE INDEX kv_hostnames_by_tenant ON kv (
  CASE WHEN json_valid(CAST(value AS TEXT)) THEN json_extract(CAST(value AS TEXT), '$.tenant') END,
  key
) WHERE key >= 'hostname:' AND key < 'hostname;';

CREATE TABLE namespaces (
  name       TEXT PRIMARY KEY NOT NULL,
  id         TEXT NOT NULL UNIQUE,
  created_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- A tenant's plan is the KV's plan:<slug>.
CREATE TABLE tenants (
  slug       TEXT PRIMARY KEY NOT NULL,
  status     TEXT NOT NULL,
  name       TEXT NOT NULL,
  created_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE tokens (
  id         TEXT PRIMARY KEY NOT NULL,
  hash       TEXT NOT NULL UNIQUE,
  tenant     TEXT,
  label      TEXT NOT NULL,
  created_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX tokens_by_tenant ON tokens (tenant, created_ms);

CREATE TABLE scripts (
  namespace   TEXT NOT NULL,
  name        TEXT NOT NULL,
  tenant      TEXT NOT NULL,
  version_id  TEXT NOT NULL,
  created_ms  INTEGER NOT NULL,
  modified_ms INTEGER NOT NULL,
  etag        TEXT NOT NULL,
  tags        TEXT NOT NULL,
  handlers    TEXT NOT NULL,
  limits      TEXT NOT NULL,
  PRIMARY KEY (namespace, name)
) WITHOUT ROWID;
CREATE INDEX scripts_by_tenant ON scripts (tenant, namespace, name);

-- document is the version as JSON, its modules without their content.
CREATE TABLE versions (
  id         TEXT PRIMARY KEY NOT NULL,
  namespace  TEXT NOT NULL,
  name       TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  document   BLOB NOT NULL
);
CREATE INDEX versions_by_script ON versions (namespace, name, created_ms);

-- content is compressed by zlib.
CREATE TABLE modules (
  version_id TEXT NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
  position   INTEGER NOT NULL,
  content    BLOB NOT NULL,
  PRIMARY KEY (version_id, position)
);
