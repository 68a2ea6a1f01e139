"""Conciseness: the shortest answer that says what was asked, the reward of 'ES at Scale' beside correctness."""
