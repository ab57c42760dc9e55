"""`python -m custody_pipeline.cli` is `custody`."""

from custody_pipeline.cli.main import main

main()
