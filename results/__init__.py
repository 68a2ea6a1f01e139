"""Run directories become rows: the DuckDB database is a cache that can be rebuilt from them at any time."""
