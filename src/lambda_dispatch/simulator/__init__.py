"""What a scaler would have cost: requests, a Lambda and routers of their own making, by a clock that does not wait."""
