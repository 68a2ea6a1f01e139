"""Executors and shared state over several nodes, all of them started by the tests on this machine."""
