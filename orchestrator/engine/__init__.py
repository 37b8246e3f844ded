"""Walks a plan: runs its changes in parallel where the graph allows and makes every step durable."""
