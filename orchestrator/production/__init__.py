"""Production files and what goes with them: read with places, checked, compiled to a topology."""
