"""Write ``losses.json`` anew: ``PYTHONPATH=src python tests/golden/update.py [NAME ...]``, all methods unless named.

Only for changes that are meant to change numbers; say so, and why, in the change's description.
"""

from __future__ import annotations

import json
import sys

from first_steps import FILE, first_steps, read

from semivox.methods import METHODS

wanted = sys.argv[1:] or list(METHODS)
known = read() if FILE.exists() else {}
losses = {name: first_steps(name) if name in wanted else known[name] for name in METHODS if name in {*wanted, *known}}
FILE.write_text(json.dumps(losses, indent=2) + "\n", encoding="utf-8")
