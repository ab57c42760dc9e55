"""How a failed command or step ends: one line with the cause and the next step, and an exit status.

Belongs here: every kind of exception that the layers below can raise. Does not: findings (a command reports them
itself, with exit status 1).
"""

from __future__ import annotations

import errno
import os
import tempfile
import traceback
from pathlib import Path

INCOMPLETE, USAGE = 2, 64

OTHER_KEY = "set CUSTODY_SIGNING_KEY_FILE to that key, or CUSTODY_PUBLISH_URL to a prefix that nobody sealed"
DOCTOR = "custody doctor tries everything that a night needs"


def ending_of(error: Exception) -> tuple[str, int]:
    """The line for stderr and the exit status: 64 for a wrong setting, mapping or matter, 2 for everything else.

    A message of another library may quote a document, so only messages that cannot are repeated.
    """
    # Imported late: these imports take longer than `--help`.
    import duckdb
    import requests
    from botocore.exceptions import BotoCoreError, ClientError

    from custody_pipeline.evidence.log.note import OtherLogError, UnknownSignerError
    from custody_pipeline.io.yaml_file import RefusedFileError
    from custody_pipeline.settings import SettingsError

    if isinstance(error, (SettingsError, RefusedFileError)):
        return str(error), USAGE
    if isinstance(error, (OtherLogError, UnknownSignerError)):
        return f"what is published was sealed with another key: {error}; {OTHER_KEY}", INCOMPLETE
    if type(error).__module__.startswith("custody_pipeline."):
        return str(error), INCOMPLETE
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "an error")
        return f"S3 or another AWS service answered {code} to {error.operation_name}; {DOCTOR}", INCOMPLETE
    if isinstance(error, BotoCoreError):
        return f"S3 or another AWS service cannot be reached ({type(error).__name__}); {DOCTOR}", INCOMPLETE
    if isinstance(error, requests.RequestException):
        return f"a server cannot be reached ({type(error).__name__}); {DOCTOR}", INCOMPLETE
    if isinstance(error, duckdb.Error):
        return (
            f"{_of_duckdb(error)}; if the file is damaged, move it away and run custody rebuild",
            INCOMPLETE,
        )
    if isinstance(error, UnicodeEncodeError):
        return f"the terminal cannot show a character in {error.encoding}; set PYTHONIOENCODING=utf-8", INCOMPLETE
    if isinstance(error, OSError):
        return _of_system(error), INCOMPLETE
    return _of_fault(error), INCOMPLETE


def _of_duckdb(error: Exception) -> str:
    import duckdb

    told = isinstance(error, (duckdb.IOException, duckdb.CatalogException, duckdb.OutOfMemoryException))
    return f"DuckDB: {str(error).splitlines()[0]}" if told else f"DuckDB: {type(error).__name__}"


def _of_system(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    what = os.strerror(error.errno) if error.errno else type(error).__name__
    if error.errno == errno.ENOSPC:
        return f"{where}{what}; free some space and run the command again: nothing that was published is lost"
    return f"{where}{what}; check that CUSTODY_HOME can be read and written"


def _of_fault(error: Exception) -> str:
    handle, name = tempfile.mkstemp(prefix="custody-fault-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write("".join(traceback.format_exception(error)))
    frames = traceback.extract_tb(error.__traceback__)
    at = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"a fault of custody itself: {type(error).__name__}{at}; please report it, the details are in {name}"
