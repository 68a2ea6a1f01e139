-- One row a run, a step, an answer, a sweep. Everything here is read from run and sweep directories by results.ingest;
-- nothing is computed that could not be computed again. Missing values are NULL.
CREATE TABLE meta (schema_version INTEGER NOT NULL, application VARCHAR NOT NULL);

CREATE TABLE runs (
    run_id VARCHAR PRIMARY KEY, folder VARCHAR, status VARCHAR, method VARCHAR, method_version INTEGER,
    parameters JSON, task VARCHAR, task_version INTEGER, task_parameters JSON, model VARCHAR, revision VARCHAR,
    seed BIGINT, split VARCHAR, budget JSON, evaluation JSON, training JSON, control VARCHAR,
    accuracy DOUBLE, reward DOUBLE, well_formed DOUBLE, truncated DOUBLE, tokens_per_completion DOUBLE, measures JSON,
    items INTEGER, samples INTEGER,
    train_seconds DOUBLE, generate_seconds DOUBLE, evaluate_seconds DOUBLE, overhead_seconds DOUBLE,
    processor_seconds DOUBLE, device_seconds DOUBLE, generated_tokens BIGINT, prompt_tokens BIGINT, trained_tokens BIGINT, rollouts BIGINT,
    flops DOUBLE, steps BIGINT, trainable_parameters BIGINT, total_parameters BIGINT, peak_memory_bytes BIGINT,
    kl_per_sequence DOUBLE, kl_per_token DOUBLE, kl_standard_error DOUBLE, kl_prompts INTEGER,
    weights_digest VARCHAR, resumed INTEGER, started_at DOUBLE, finished_at DOUBLE,
    failure VARCHAR, failure_phase VARCHAR, failure_message VARCHAR, content_hash VARCHAR
);

CREATE TABLE stages (
    run_id VARCHAR, stage INTEGER, description JSON, stopped_by VARCHAR, trainable_parameters BIGINT,
    micro_batch INTEGER, best_point INTEGER, split VARCHAR, items INTEGER, accuracy DOUBLE, reward DOUBLE,
    well_formed DOUBLE, truncated DOUBLE, tokens_per_completion DOUBLE,
    train_seconds DOUBLE, generate_seconds DOUBLE, device_seconds DOUBLE, generated_tokens BIGINT,
    trained_tokens BIGINT, rollouts BIGINT, flops DOUBLE, steps BIGINT, PRIMARY KEY (run_id, stage)
);

CREATE TABLE metrics (
    run_id VARCHAR, stage INTEGER, step BIGINT, device_seconds DOUBLE, generated_tokens BIGINT,
    trained_tokens BIGINT, flops DOUBLE, name VARCHAR, value DOUBLE
);

CREATE TABLE curve (
    run_id VARCHAR, stage INTEGER, step BIGINT, point INTEGER, device_seconds DOUBLE, generated_tokens BIGINT,
    trained_tokens BIGINT, flops DOUBLE, accuracy DOUBLE, reward DOUBLE, well_formed DOUBLE, truncated DOUBLE,
    items INTEGER
);

CREATE TABLE samples (
    run_id VARCHAR, item_id VARCHAR, item_index INTEGER, sample INTEGER, prompt VARCHAR, completion VARCHAR,
    correct BOOLEAN, reward DOUBLE, well_formed BOOLEAN, reason VARCHAR, parsed VARCHAR, tokens INTEGER,
    truncated BOOLEAN, measures JSON
);

-- A probe before and after a run: measure 'accuracy', or one of the probe's own.
CREATE TABLE retention (
    run_id VARCHAR, probe VARCHAR, task VARCHAR, measure VARCHAR, items INTEGER, before DOUBLE, after DOUBLE
);

-- Stored completions graded again by another version of their task's grader.
CREATE TABLE regrades (
    run_id VARCHAR, task_version INTEGER, item_id VARCHAR, item_index INTEGER, sample INTEGER, correct BOOLEAN,
    reward DOUBLE, well_formed BOOLEAN, reason VARCHAR, parsed VARCHAR, measures JSON
);

CREATE TABLE environments (
    run_id VARCHAR PRIMARY KEY, "commit" VARCHAR, dirty BOOLEAN, diff_sha256 VARCHAR, python VARCHAR, platform VARCHAR,
    cpu VARCHAR, cores INTEGER, threads INTEGER, gpu VARCHAR, memory_bytes BIGINT, hostname VARCHAR, packages JSON
);

CREATE TABLE sweeps (
    sweep VARCHAR PRIMARY KEY, identity VARCHAR, task VARCHAR, task_parameters JSON, model VARCHAR, revision VARCHAR,
    budget JSON, tune_trials INTEGER, tune_evaluation JSON, final_evaluation JSON, commands JSON, source VARCHAR,
    finished BOOLEAN, folder VARCHAR
);

CREATE TABLE arms (sweep VARCHAR, position INTEGER, method VARCHAR, winner JSON);

CREATE TABLE trials (
    sweep VARCHAR, method VARCHAR, number INTEGER, run_id VARCHAR, parameters JSON, state VARCHAR, value DOUBLE
);

CREATE TABLE finals (sweep VARCHAR, method VARCHAR, position INTEGER, run_id VARCHAR);

CREATE TABLE refusals (sweep VARCHAR, method VARCHAR, reason VARCHAR);
