"""`python -m litetext` is the `litetext` command."""

import sys

from litetext.cli import main

sys.exit(main())
