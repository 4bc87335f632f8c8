"""Chats as files: export, import and restore."""
