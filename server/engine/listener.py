"""What the engine tells the caller of a request while it runs."""

import numpy as np
from numpy.typing import NDArray

from server.engine.snapshot import Snapshot


class SequenceListener:
    """Receives the progress of one request. The methods are empty; a subclass overrides them.

    The engine's threads call the methods, one at a time, and before the request's future resolves. So a method must be
    quick and must not call the engine. The engine logs and drops an exception that a method raises.
    """

    def tokens(self, tokens: NDArray[np.int32], snapshot: Snapshot | None) -> None:
        """A request for one candidate has more tokens. All calls together give the candidate's tokens, each once.

        The first call comes with the first token after the primer, and contains the primer. If the request resumes a
        sequence, its tokens take the primer's place. After a cancellation there may be one more call.

        Args:
            tokens: (n,), the new tokens, n at least 1.
            snapshot: the sequence after these tokens, if `EngineRequest.snapshots` asks for it; else None.
        """
