"""Chats taken along: as Markdown, as JSON messages, as a notebook, and back."""
