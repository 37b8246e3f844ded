"""What the commands do, without a terminal: load, prepare a plan, apply, destroy, look, invoke."""
