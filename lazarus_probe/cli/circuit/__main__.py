"""`python -m lazarus_probe.cli.circuit`, as `circuit`."""

import sys

from lazarus_probe.cli.circuit import main

sys.exit(main())
