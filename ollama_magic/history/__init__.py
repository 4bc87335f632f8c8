"""Where chats are kept: one SQLite file for all notebooks of a user."""
