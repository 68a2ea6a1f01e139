"""Word problems from a grammar: one to six steps of arithmetic told in words, answered in GSM8K's form."""
