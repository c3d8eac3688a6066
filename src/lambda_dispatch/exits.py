"""Exit codes of the router's processes. Those below 80 are of sysexits.h."""

EX_USAGE = 64  # the command line is wrong
EX_UNAVAILABLE = 69  # a port, or a router to ask, is not there
EX_SOFTWARE = 70  # a bug
EX_CONFIG = 78  # the configuration is wrong: starting again cannot help
EXIT_BOOT = 79  # something needed at start was missing: starting again may help
