"""One prompt, from its options to its reply."""
