"""HTTP/2: frames, flow control, streams, sessions in both roles."""
