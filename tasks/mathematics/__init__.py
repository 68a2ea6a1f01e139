"""Mathematics benchmarks, graded by math-verify in a process that can be killed."""
