"""Files of this product hold personal data: only their owner may read them.

Belongs here: the permissions of new files. Does not: their content.
"""

from __future__ import annotations

import os


def keep_private() -> None:
    """Give new files and folders of this process the modes 0600 and 0700, regardless of the umask at its start."""
    os.umask(0o077)
