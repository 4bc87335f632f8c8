"""The line of a magic: what may stand on it, how it is read, how it is explained."""
