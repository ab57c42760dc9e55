"""A socket that listens, for the servers that commands start.

Belongs here: opening it, and what to do if that cannot be done. Does not: the servers.
"""

from __future__ import annotations

import errno
import os
import socket

from custody_pipeline.settings import SettingsError


def listener(host: str, port: int, backlog: int | None = None) -> socket.socket:
    """A listening socket. Port 0 lets the system choose.

    Raises:
        SettingsError: the address cannot be listened on: another program does, or it is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"port {port} of {host} is not free: stop the program that listens there, or name another with --port"
            ) from error
        # An error of the name's look-up has a number below 0 and its own words.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise SettingsError(f"port {port} of {host} cannot be listened on ({why}): name another address") from error
