"""`python -m tests.serve.faulty ORDERS [flags of app.py]`: replicas with the faults of `tests.trust.faulty`.

The seams are in the replicas' processes but for the full disk, which is the page's. Where flux-dev is asked for, the
mini stands in for it, with sizes and limits of its own.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import app.replica
from app.replica import Loading, Replica
from jointdit_core.presets import PRESETS
from tests.trust.faulty import be_app, put_into_disk, put_into_model

ORDERS = "JOINTDIT_TEST_ORDERS"  # in the environment, which the replicas inherit
LIMIT_S, HANG_S = 6, 9.0  # the time limit that the tests set, and longer
STAND_IN = replace(PRESETS["mini"], name="flux-dev", title="Stand-in", sizes=((128, 128), (192, 128)), max_guidance=9.0)


class FaultyReplica(Replica):
    """A replica that strikes when it is ordered to."""

    def __init__(self, loading: Loading) -> None:
        super().__init__(loading)
        put_into_model(self.engine.model.pipe, Path(os.environ[ORDERS]), HANG_S)


def main() -> None:
    """Build in the seams, then be app.py."""
    PRESETS[STAND_IN.name] = STAND_IN
    os.environ[ORDERS] = sys.argv.pop(1)
    app.replica.Replica = FaultyReplica  # before `app.replicas` takes it from there
    put_into_disk(Path(os.environ[ORDERS]))
    be_app()


if __name__ == "__main__":
    from tests.serve.faulty import main  # not this copy of it: the replicas find the class by its module's name

    main()
