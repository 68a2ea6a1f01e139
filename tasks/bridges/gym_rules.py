"""Which sets of reasoning-gym 0.1.25 are taken, and by what rule: found by reading and trying every `score_answer`.

`REFUSED` says why a set is not taken. `REGRADED` says why a set is graded by `gym_graders` and not by its own scorer.
All others keep their own scorer: only its full score counts as correct. A set whose scorer (or a function that it
calls) executes or evaluates text is in one of the two tables; a test reads the installed package and fails on another.
"""

from __future__ import annotations

EXECUTES = "its scorer hands the answer to {}, which executes it"
HASH_SEED = "its items depend on Python's hash seed, so two processes ask different questions"
NO_GOLD = "it brings no right answer to check its scorer by"

REFUSED: dict[str, str] = {
    "boxnet": NO_GOLD,
    "codeio": "making its items executes programs that come with it, and they depend on Python's hash seed",
    "composite": "it is made of other sets: take these, or a mixture of them",
    "intermediate_integration": EXECUTES.format("sympy.parse_expr"),
    "isomorphic_strings": HASH_SEED,
    "knight_swap": HASH_SEED,
    "list_functions": HASH_SEED,
    "polynomial_multiplication": EXECUTES.format("sympy.parse_expr"),
    "pool_matrix": "it seeds NumPy's global generator, and does so with 32 bits only",
    "propositional_logic": "its scorer takes a premise that is copied from the question for a right conclusion",
    "ransom_note": HASH_SEED,
    "rubiks_cube": "its scorer writes out a move like U999999999 so often, which fills the memory",
    "rush_hour": NO_GOLD,
    "simple_integration": EXECUTES.format("sympy.parse_expr"),
    "word_ladder": HASH_SEED,
}

REGRADED: dict[str, str] = {
    "binary_matrix": EXECUTES.format("eval"),
    "bitwise_arithmetic": "its scorer evaluates the question's text",
    "calendar_arithmetic": "where the right number is -1 its scorer takes every number for right",
    "coin_flip": "its scorer takes the beginning of the right number for right, and hangs on 1e99999999",
    "complex_arithmetic": "its scorer takes nan for right",
    "countdown": EXECUTES.format("sympy.parse_expr"),
    "dice": "its scorer takes no fraction but the one it has, whether reduced as asked or not",
    "figlet_font": "its scorer takes ten right letters for a right word",
    "game_of_life_halting": "its scorer takes every text for right",
    "gsm_symbolic": "its scorer reads the first number of the answer, without its sign",
    "letter_jumble": "its scorer sums rounded shares of right words",
    "n_queens": EXECUTES.format("eval"),
    "number_sorting": "its scorer takes every number within 1 of the right one for right",
    "puzzle24": EXECUTES.format("sympy.parse_expr") + ", and does not look at the given numbers",
    "spell_backward": "its scorer sums rounded shares of right letters",
    "spiral_matrix": EXECUTES.format("eval"),
    "string_insertion": EXECUTES.format("eval"),
}

SPLIT_BY = {"arc_agi": "task_id", "rearc": "task_id"}
"""Sets whose items are views of one thing: all views of it are in one split."""

SLOW_TO_OPEN = frozenset({"arc_agi", "figlet_font", "group_anagrams", "spell_backward"})
"""Sets that read large files when they are made: one is made, and its copies get the seeds."""
