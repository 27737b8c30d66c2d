"""`python -m tests.app.zerogpu [flags of app.py]`: the studio on a ZeroGPU Space, with our stand-in for `spaces`."""

import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.argv[0] = "app.py"
runpy.run_path("app.py", run_name="__main__")
