-- Visitors may ask for any alias: finding none must not read the documents of all versions.
CREATE INDEX versions_by_alias ON versions (
  namespace, name, json_extract(CAST(document AS TEXT), '$.alias'), number
);
