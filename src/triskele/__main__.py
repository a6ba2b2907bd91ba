"""``python -m triskele``."""

import sys

from triskele.cli import main

sys.exit(main())
