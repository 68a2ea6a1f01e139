"""A user's own task: a JSONL file, a grader by name, a template by name."""
