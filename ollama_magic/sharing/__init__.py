"""Chats as files: export, import, restore."""
