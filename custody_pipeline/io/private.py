"""Files of this product hold personal data: nobody but their owner reads them.

Belongs here: the permissions of new files. Does not: what is put into them.
"""

from __future__ import annotations

import os


def keep_private() -> None:
    """Give new files and folders of this process the modes 0600 and 0700, whatever umask it was started with."""
    os.umask(0o077)
