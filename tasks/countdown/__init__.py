"""Countdown: combine all the given numbers, each once, with + - * / so that they make the target."""
