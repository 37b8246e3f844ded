"""What a person or a program sees: results as text or JSON."""
