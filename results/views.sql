-- What people ask first. A method's row in a sweep is the mean over its finished final runs.
CREATE OR REPLACE VIEW leaderboard AS
SELECT f.sweep, f.method, count(*) AS seeds, avg(r.accuracy) AS accuracy, stddev_samp(r.accuracy) AS accuracy_sd,
       avg(r.reward) AS reward, avg(r.well_formed) AS well_formed, avg(r.truncated) AS truncated,
       avg(r.generated_tokens) AS generated_tokens, avg(r.trained_tokens) AS trained_tokens, avg(r.flops) AS flops,
       avg(r.device_seconds) AS device_seconds, max(r.peak_memory_bytes) AS peak_memory_bytes,
       max(r.trainable_parameters) AS trainable_parameters
FROM finals f JOIN runs r USING (run_id) WHERE r.status = 'done'
GROUP BY ALL ORDER BY f.sweep, accuracy DESC, f.method;

-- One cell a method, seed and item: what paired comparisons are made from.
CREATE OR REPLACE VIEW item_scores AS
SELECT f.sweep, f.method, r.seed, s.item_id, any_value(s.item_index) AS item_index,
       avg(s.correct::DOUBLE) AS correct, avg(s.reward) AS reward
FROM finals f JOIN runs r USING (run_id) JOIN samples s USING (run_id) WHERE r.status = 'done'
GROUP BY ALL;

-- What finding the settings cost, trials that were pruned or failed included.
CREATE OR REPLACE VIEW tuning_cost AS
SELECT t.sweep, t.method, count(DISTINCT t.number) AS trials,
       count(DISTINCT t.number) FILTER (t.state = 'pruned') AS pruned,
       count(DISTINCT t.number) FILTER (t.state = 'failed') AS failed, max(t.value) AS best_value,
       any_value(c.device_seconds) AS device_seconds, any_value(c.flops) AS flops,
       any_value(c.generated_tokens) AS generated_tokens
FROM trials t LEFT JOIN (
    SELECT d.sweep, d.method, sum(r.device_seconds) AS device_seconds, sum(r.flops) AS flops,
           sum(r.generated_tokens) AS generated_tokens
    FROM (SELECT DISTINCT sweep, method, run_id FROM trials) d JOIN runs r USING (run_id) GROUP BY d.sweep, d.method
) c USING (sweep, method) GROUP BY t.sweep, t.method ORDER BY t.sweep, t.method;

-- Methods that no other method beats at equal or lower cost in operations.
CREATE OR REPLACE VIEW pareto AS
SELECT l.* FROM leaderboard l WHERE NOT EXISTS (
    SELECT 1 FROM leaderboard o WHERE o.sweep = l.sweep AND o.flops <= l.flops AND o.accuracy > l.accuracy
);

-- Accuracy by the verdicts of the run itself and by those of later versions of its grader.
CREATE OR REPLACE VIEW regraded AS
SELECT r.run_id, r.method, r.task, r.seed, r.task_version AS first_version, r.accuracy AS first_accuracy,
       g.task_version AS version, avg(g.correct::DOUBLE) AS accuracy, avg(g.reward) AS reward, count(*) AS answers
FROM regrades g JOIN runs r USING (run_id) GROUP BY ALL ORDER BY r.task, r.method, r.seed, version;

-- Which methods have been run on which task, level and model.
CREATE OR REPLACE VIEW coverage AS
SELECT method, task, task_parameters, model, status, count(*) AS runs FROM runs GROUP BY ALL
ORDER BY method, task, model, status;
