import sys

from lambda_dispatch_extension.main import main

sys.exit(main(sys.argv[1:]))
