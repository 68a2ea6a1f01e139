"""GSM8K: grade-school maths in words, and the reading and comparing of numeric answers."""
