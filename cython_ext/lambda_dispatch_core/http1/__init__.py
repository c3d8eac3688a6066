"""HTTP/1.1: heads, bodies, request targets."""
