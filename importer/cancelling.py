"""Taking rows back."""
