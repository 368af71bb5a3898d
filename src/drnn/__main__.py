"""``python -m drnn`` is the command ``drnn``; ``torchrun -m drnn train ...`` runs it on several processes."""

import sys

from drnn.cli.main import main

sys.exit(main())
