"""Code from replies, and questions about code."""
