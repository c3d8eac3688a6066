"""Nothing here is seen from Python; the theory stands in trailers.pxd."""
