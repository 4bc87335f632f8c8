"""Structured replies: what a schema may be, and whether a reply follows it."""
