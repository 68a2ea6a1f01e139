"""Sudoku from 4x4 to 9x9: puzzles with one solution, split by the orbit of that solution, graded by the rules."""
