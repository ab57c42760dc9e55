"""`python -m custody_pipeline.cli` is `custody`."""

from custody_pipeline.__main__ import main

main()
