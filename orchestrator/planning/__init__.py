"""From what is wanted, known and seen to what is to be done: pure functions, no I/O."""
