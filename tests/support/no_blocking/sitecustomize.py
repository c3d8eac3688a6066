"""On the path of a process under test: a blocking call of our code on a running event loop raises BlockingError."""

import sys

from blockbuster import BlockBuster

guard = BlockBuster(scanned_modules=["lambda_dispatch", "lambda_dispatch_net"])
guard.functions["os.write"].can_block_in("telemetry/sink.py", {"write"})  # asks with poll before it writes to a pipe
guard.functions["os.listdir"].can_block_in("worker/room.py", {"__init__"})  # once, in /proc, before it listens
guard.activate()
print("blockbuster: active", file=sys.stderr, flush=True)
