"""What is known of a deployment between two runs: model, journal store, lock, secrets."""
