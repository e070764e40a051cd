"""Two networks whose shapes are proven on every push."""
