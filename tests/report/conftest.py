"""Reports are made of the same synthetic runs as comparisons."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "compare"))
