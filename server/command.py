"""The command line of the server: settings, log, exit codes."""

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from music.errors import FantasiaError
from music.invalid import plain_text
from server.errors import SettingError
from server.logs import log_to_stderr
from server.memory import share_malloc_arena
from server.settings import parse_settings
from server.watchdog import Watchdog

if TYPE_CHECKING:
    from server.app import LoadModels

# Python lets a thread that computes go on for so long while another waits for its turn. Writing a piece down takes a
# millisecond or more of Python, and neither the engine, between two chunks, nor the event loop shall wait five for it:
# with one such thread at work the loop woke 3 ms late at the median where it was 11 before, for 6 % fewer pieces.
_SWITCH_SECONDS: Final = 0.0005
_MAX_CHARACTERS: Final = 10_000
"""Of the sentence that says why the server ends."""


def main(arguments: Sequence[str], load: "LoadModels | None" = None) -> int:
    """Serve until told to stop.

    Args:
        arguments: the command line without the program's name.
        load: makes the models; None for those in the folder of the settings.

    Returns:
        The exit code: 0 drained, 1 could not go on, 2 bad settings, 130 cut short.
    """
    try:
        settings = parse_settings(arguments)
    except SettingError as error:
        _tell(error)
        return 2
    log_to_stderr(settings.log_level)
    share_malloc_arena()
    sys.setswitchinterval(_SWITCH_SECONDS)
    # gRPC reads this once, as it is imported, and writes its own lines among ours: what they say of a fault, our
    # sentence says. Who wants more sets the variable.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Only now: a wrong setting is told before ONNX Runtime is loaded.
    from server.app import serve
    from server.loading import load_models

    watchdog = Watchdog(settings.startup_timeout_seconds, settings.drain_seconds)
    watchdog.starting()
    try:
        asyncio.run(serve(settings, load or load_models, watchdog))
    except FantasiaError as error:
        _tell(error)
        return 1
    except KeyboardInterrupt:  # a second signal, while draining
        return 130
    finally:
        watchdog.close()
    return 0


def _tell(error: FantasiaError) -> None:
    """Say on one line of stderr why the server ends, whatever names and values the sentence quotes."""
    sys.stderr.write(f"python -m server: error: {plain_text(str(error), _MAX_CHARACTERS)}\n")
