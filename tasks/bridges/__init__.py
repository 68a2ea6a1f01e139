"""Bridges: the tasks of other collections as tasks here (lm-eval, reasoning-gym), and ours as tasks of lm-eval."""
