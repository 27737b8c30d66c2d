"""`python -m tests.serve.faulty ORDERS [flags of app.py]`: replicas with the faults of `tests.trust.faulty`.

The seams are in the replicas' processes but for the full disk, which is the page's. They also believe that the machine
could hold FLUX.1-dev, so that a tiny model of its shape can stand in for it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import app.replica
from app.replica import Loading, Replica
from jointdit_core.memory import Card
from tests.trust.faulty import be_app, put_into_disk, put_into_model

ORDERS = "JOINTDIT_TEST_ORDERS"  # in the environment, which the replicas inherit
LIMIT_S, HANG_S = 6, 9.0  # the time limit that the tests set, and longer


class FaultyReplica(Replica):
    """A replica that strikes when it is ordered to."""

    def __init__(self, loading: Loading) -> None:
        Card.of = lambda device: Card(64.0, None)
        super().__init__(loading)
        put_into_model(self.engine.model.pipe, Path(os.environ[ORDERS]), HANG_S)


def main() -> None:
    """Build in the seams, then be app.py."""
    os.environ[ORDERS] = sys.argv.pop(1)
    app.replica.Replica = FaultyReplica  # before `app.replicas` takes it from there
    put_into_disk(Path(os.environ[ORDERS]))
    be_app()


if __name__ == "__main__":
    from tests.serve.faulty import main  # not this copy of it: the replicas find the class by its module's name

    main()
