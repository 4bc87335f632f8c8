"""Finds, starts and stops a server."""
