"""Chats on disk: turns, the SQLite store, stored answers, notebook identity."""
