"""The command line: one small file a group of verbs. Heavy imports happen inside the commands."""
