"""Tasks of different sizes and ways."""
