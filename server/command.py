"""The command line of the server: reads the settings, sets up the process, serves, returns an exit code."""

import asyncio
import ctypes
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from music.errors import FantasiaError, plain_text
from server.errors import SettingError
from server.logs import flush_log, log_to_stderr
from server.settings import PROGRAM, parse_settings
from server.watchdog import Watchdog

if TYPE_CHECKING:
    from server.app import LoadModels

_log = logging.getLogger(__name__)

# How long Python lets a thread run while another waits for the interpreter lock. Building a response takes a
# millisecond or more, and neither the engine, between two chunks, nor the event loop should wait Python's usual 5 ms.
# With one such thread running, the event loop woke 3 ms late (median) instead of 11, for 6 % less throughput.
_SWITCH_SECONDS: Final = 0.0005
_MAX_ERROR_CHARACTERS: Final = 10_000
_M_ARENA_MAX: Final = -8  # malloc.h of glibc


def main(arguments: Sequence[str], load: "LoadModels | None" = None) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        arguments: the command line without the program's name.
        load: makes the models; None for those in the folder that the settings name.

    Returns:
        The exit code: 0 drained, 1 failed, 2 wrong settings, 130 second signal while draining.

    Raises:
        SystemExit: see `parse_settings`.
    """
    try:
        settings = parse_settings(arguments)
    except SettingError as error:
        _print_error(error)
        return 2
    log_to_stderr(settings.log_level, settings.log_format)
    share_malloc_arena()
    sys.setswitchinterval(_SWITCH_SECONDS)
    # gRPC reads this when it is imported. Its own lines are not logfmt, and our errors say the same. Set the variable
    # to see them.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Not at the top: a wrong setting must be reported before ONNX Runtime is loaded.
    from server.app import serve

    watchdog = Watchdog(settings.startup_timeout_seconds, settings.drain_seconds)
    watchdog.start_begins()
    try:
        asyncio.run(serve(settings, load, watchdog))
    except FantasiaError as error:
        if settings.log_format == "json":
            _log.critical(_sentence(error))
        else:
            _print_error(error)
        return 1
    except KeyboardInterrupt:  # a second signal while draining
        return 130
    finally:
        watchdog.close()
    return 0


def share_malloc_arena() -> None:
    """Let all threads allocate from one arena of glibc's malloc; does nothing with another C library.

    By default glibc has up to eight arenas per core, and threads of one arena cannot use memory that was freed in
    another. gRPC allocates a stream in any of its threads: after several floods of streams, the server held twice the
    memory of one flood.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def _print_error(error: FantasiaError) -> None:
    """Print on one line of stderr why the server ends, after what is logged already."""
    flush_log()
    sys.stderr.write(f"{PROGRAM}: error: {_sentence(error)}\n")


def _sentence(error: FantasiaError) -> str:
    return plain_text(str(error), _MAX_ERROR_CHARACTERS)
