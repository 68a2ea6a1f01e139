"""What a sweep will take: tokens, operations, time, money, memory and disk of each arm, before anything is run."""
