-- How requests are split over versions, as JSON; empty where one version gets all.
ALTER TABLE scripts ADD COLUMN split TEXT NOT NULL DEFAULT '[]';
ALTER TABLE deployments ADD COLUMN split TEXT NOT NULL DEFAULT '[]';
