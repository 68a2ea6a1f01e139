-- Votes of people between two answers whose authors they did not see (`beyondrl serve`), A being what stood first. Every
-- ingest that finds other files of votes makes the table again, so no schema version speaks of it. A run that is NULL is
-- the base model.
CREATE OR REPLACE TABLE preferences (
    vote VARCHAR PRIMARY KEY, server VARCHAR, voted_at DOUBLE, page VARCHAR, engine VARCHAR, base VARCHAR, revision VARCHAR,
    prompt VARCHAR, task VARCHAR, task_parameters JSON, item_id VARCHAR,
    temperature DOUBLE, top_p DOUBLE, max_new_tokens INTEGER, stop VARCHAR, seed BIGINT,
    name_a VARCHAR, run_a VARCHAR, completion_a VARCHAR, tokens_a INTEGER, truncated_a BOOLEAN,
    name_b VARCHAR, run_b VARCHAR, completion_b VARCHAR, tokens_b INTEGER, truncated_b BOOLEAN,
    choice VARCHAR
);
