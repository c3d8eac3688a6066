"""The admin process: shows what the router does, from a read-only map of the board. It never touches a request."""
