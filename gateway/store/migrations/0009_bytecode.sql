-- What was compiled of a version's modules, by one interpreter; content is compressed by zlib.
CREATE TABLE bytecode (
  version_id  TEXT PRIMARY KEY NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
  interpreter TEXT NOT NULL,
  sizes       BLOB NOT NULL,
  content     BLOB NOT NULL
);
