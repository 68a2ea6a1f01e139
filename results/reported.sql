-- Figures that papers and their critics report, with their source. They come with the program (results.literature), not
-- from run directories, so every ingest makes the two tables again and no schema version speaks of them.
CREATE OR REPLACE TABLE papers (paper VARCHAR PRIMARY KEY, reference VARCHAR, about VARCHAR);

CREATE OR REPLACE TABLE reported (
    paper VARCHAR, version VARCHAR, "where" VARCHAR, model VARCHAR, task VARCHAR, split VARCHAR, size INTEGER,
    method VARCHAR, metric VARCHAR, unit VARCHAR, value DOUBLE, spread DOUBLE, source VARCHAR, certain BOOLEAN,
    note VARCHAR
);
