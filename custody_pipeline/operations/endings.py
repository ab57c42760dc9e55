"""The ending of a failed command or step: one line with the cause and the next step, and an exit status.

Belongs here: every kind of exception that the rooms below can raise. Does not: findings (a command reports them itself,
with exit status 1).
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError

from custody_pipeline.io.escaping import escaped

INCOMPLETE, USAGE = 2, 64

OTHER_KEY = "set CUSTODY_SIGNING_KEY_FILE to that key, or CUSTODY_PUBLISH_URL to a prefix that nobody sealed"
DOCTOR = "custody doctor tries everything that a night needs"
SPACE = "free some space and run the command again: nothing that was published is lost"
NOT_MODELLED = "no night of this home was modelled: custody status says why"
DAMAGED = "if the file is damaged, move it away and run custody rebuild"

_NO_TABLE = re.compile(r"Table with name (\w+) does not exist")
_LASTING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


def ending_of(error: Exception) -> tuple[str, int]:
    """The line for stderr and the exit status: 64 for a wrong setting, mapping or matter, 2 for everything else.

    A message of another library may quote a document. Only messages that cannot quote one are repeated.
    """
    # Imported late: these imports take longer than `--help`.
    import duckdb
    import requests
    from botocore.exceptions import BotoCoreError, ClientError

    from custody_pipeline.evidence.log.note import OtherLogError, UnknownSignerError
    from custody_pipeline.io.http import kind_of
    from custody_pipeline.io.yaml_file import RefusedFileError
    from custody_pipeline.settings import SettingsError

    error = _cause_of(error)
    if isinstance(error, (SettingsError, RefusedFileError)):
        return "; ".join(str(error).splitlines()), USAGE
    if isinstance(error, (OtherLogError, UnknownSignerError)):
        return f"what is published was sealed with another key: {error}; {OTHER_KEY}", INCOMPLETE
    if type(error).__module__.startswith("custody_pipeline."):
        return str(error), INCOMPLETE
    if isinstance(error, ClientError):
        answer: dict[str, Any] = {**error.response.get("Error", {})}
        place = f" ({answer['BucketName']})" if answer.get("BucketName") else ""
        code = f"{answer.get('Code', 'an error')}{place}"
        return f"S3 or another AWS service answered {code} to {error.operation_name}; {DOCTOR}", INCOMPLETE
    if isinstance(error, BotoCoreError):
        return f"{without_answer(error)[0]}; {DOCTOR}", INCOMPLETE
    if isinstance(error, requests.RequestException):
        return f"a server cannot be reached ({kind_of(error)}); {DOCTOR}", INCOMPLETE
    if isinstance(error, (duckdb.BinderException, duckdb.ParserException)):
        return _of_fault(error), INCOMPLETE  # no file, however damaged, makes a statement wrong
    if isinstance(error, duckdb.Error):
        return _of_duckdb(error), INCOMPLETE
    if isinstance(error, sqlite3.Error):
        return f"Dagster's database: {error}; {SPACE}, or check that CUSTODY_HOME can be written", INCOMPLETE
    if type(error).__module__.startswith(("psycopg", "dagster_postgres")):
        what = f"Dagster's database cannot be reached ({type(error).__name__})"
        return f"{what}; start Postgres or mend dagster.yaml, then run the night again: nothing is lost", INCOMPLETE
    if isinstance(error, OSError):
        return _of_system(error), INCOMPLETE
    # The second is orjson's, the third DuckDB's.
    if isinstance(error, (UnicodeEncodeError, TypeError, RuntimeError)) and (texts := _not_utf8()):
        return f"not UTF-8, so it cannot be written down: {', '.join(texts)}; name it in UTF-8", USAGE
    return _of_fault(error), INCOMPLETE


def _not_utf8() -> list[str]:
    """Arguments of the command line, the working folder, and names of settings, whose text is not UTF-8."""
    texts = {value: name for name, value in os.environ.items() if "CUSTODY" in name}
    texts |= {name: name for name in sys.argv}
    with suppress(FileNotFoundError):  # somebody removed it
        texts[str(Path.cwd())] = str(Path.cwd())
    return [escaped(told) for text, told in texts.items() if os.fsencode(text) != text.encode(errors="replace")]


def is_lasting(error: Exception) -> bool:
    """True for an error that a retry cannot solve: a full disk, a file that may not be written or is damaged."""
    import duckdb

    error = _cause_of(error)
    return isinstance(error, (duckdb.Error, sqlite3.Error)) or getattr(error, "errno", None) in _LASTING


def _cause_of(error: Exception) -> Exception:
    """The error that dlt or SQLAlchemy wraps."""
    while type(error).__module__.startswith(("dlt.", "sqlalchemy.")) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def without_answer(error: BotoCoreError) -> tuple[str, str]:
    """A request to AWS that got no answer, or no answer that can be used: what happened, and what to do."""
    from botocore.exceptions import NoCredentialsError

    from custody_pipeline.io.http import kind_of

    name = kind_of(error)
    advice = "Check the AWS credentials and CUSTODY_S3_ENDPOINT_URL."
    if type(error).__module__.startswith("custody_pipeline."):
        return str(error), advice
    if isinstance(error, NoCredentialsError):
        advice = "Give AWS credentials: a role, a profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        return f"there are no AWS credentials ({name})", advice
    if endpoint := getattr(error, "kwargs", {}).get("endpoint_url"):
        url = urlsplit(str(endpoint))  # its path and query may name an object
        found = f"{url.scheme}://{url.netloc.rpartition('@')[2]} gave no answer ({name})"
        return found, "Check the network, CUSTODY_S3_ENDPOINT_URL and CUSTODY_S3_REGION."
    return f"S3 or another AWS service gave no usable answer ({name})", advice


def _of_duckdb(error: Exception) -> str:
    import duckdb

    if isinstance(error, duckdb.CatalogException) and (table := _NO_TABLE.search(str(error))):
        return f"DuckDB: there is no table {table[1]}; {NOT_MODELLED}; {DAMAGED}"
    told = isinstance(error, (duckdb.IOException, duckdb.CatalogException, duckdb.OutOfMemoryException))
    what = str(error).splitlines()[0] if told else type(error).__name__
    full = any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
    return f"DuckDB: {what}; {SPACE if full else DAMAGED}"


def _of_system(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    what = os.strerror(error.errno) if error.errno else type(error).__name__
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"{where}{what}; {SPACE}"
    home = Path(os.environ.get("CUSTODY_HOME", ".custody")).absolute()
    is_of_home = error.filename is None or Path(os.fsdecode(error.filename)).absolute().is_relative_to(home)
    is_of_home = is_of_home and str(error.filename) not in sys.argv[1:]
    return f"{where}{what}; check {'that CUSTODY_HOME can be read and written' if is_of_home else 'the path'}"


def _of_fault(error: Exception) -> str:
    handle, name = tempfile.mkstemp(prefix="custody-fault-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write("".join(traceback.format_exception(error)))
    frames = traceback.extract_tb(error.__traceback__)
    at = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"a fault of custody itself: {type(error).__name__}{at}; please report it, the details are in {name}"
