"""Imported by the process that others are forked from, after the product."""

import gc
import os

from custody_pipeline_tests.one_thread import use_one_thread
from custody_pipeline_tests.read_once import read_all

read_all()
if "PYTEST_XDIST_WORKER" in os.environ:
    use_one_thread()
# No fork looks for garbage among what it shares with the others.
gc.freeze()
