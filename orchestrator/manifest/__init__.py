"""The endpoints manifest: the one thing that the runtime reads."""
