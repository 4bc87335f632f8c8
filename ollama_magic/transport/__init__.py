"""HTTP under the client: connections that can be cut, streams, and what goes wrong."""
