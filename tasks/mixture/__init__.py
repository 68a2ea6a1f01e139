"""A weighted mixture of tasks as one task."""
