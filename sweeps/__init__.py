"""Sweeps: a YAML file becomes planned runs, tuning trials and final runs. The shipped sweep files lie beside this."""
