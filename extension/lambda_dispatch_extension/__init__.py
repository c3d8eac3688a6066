"""The process beside the application inside Lambda: parks channels at the router and relays what comes down them."""
