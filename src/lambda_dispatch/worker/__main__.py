"""`python -m lambda_dispatch.worker FD`: started by the supervisor, never by hand."""

import sys

from lambda_dispatch.worker.process import main

sys.exit(main(sys.argv[1:]))
