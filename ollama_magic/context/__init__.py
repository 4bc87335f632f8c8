"""How large a chat is, and whether it fits into the context of its model."""
