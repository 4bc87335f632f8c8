"""What the user sees: safe HTML, live displays, tables."""
