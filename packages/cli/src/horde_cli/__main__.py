"""`python -m horde_cli` is `horde`."""

import sys

from horde_cli.main import main

sys.exit(main())
