"""Learned reward models: what lies in their folder, how they are trained, and how they score completions."""
