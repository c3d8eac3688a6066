"""One worker: one thread, one event loop; front door, control port, queue and dispatch."""
