"""Names in the ONNX graphs of a bundle. They are part of the bundle format.

Most inputs and outputs have the name that the code uses, such as `uniforms`, `forced` and `tokens`;
`training/graphs/decode.py` and `training/graphs/prefill.py` list them all. The names below differ from the code's.
"""

from typing import Final

NEXT: Final = "_next"
"""Suffix of an output that is the next value of the state input of the same name."""
POSITION: Final = "clock"
"""Decode graphs, state: position index of the next token, (batch,) int64."""
POSITIONS: Final = "clock_rows"
"""Prefill and scoring graphs, input: position index of each token, (time, batch) int64."""
VOICE_STATE: Final = "registers"
"""Decode graphs, state: rows of `LinearVoiceTracker`, (batch, size) float32. Prefill and scoring graphs, input: voice
states of `VoiceTracker`, (time, batch, size) int64."""
REMAINING: Final = "remaining"
"""Decode graphs, state: remaining length before the next token (`music.remaining_length`), (batch,) int64. Prefill and
scoring graphs, input: the same before each token, (time, batch) int64. Only if the network has this input."""
CANDIDATE_LIMIT: Final = "choices"
"""Decode graphs, optional input: how many of the most likely tokens the sampler sorts, (1,) int64."""
POSITION_EMBEDDING: Final = "rows_clock"
"""Initializer: embedding of each position index, (positions, embedding) float32."""
POSITION_SUCCESSOR: Final = "clock_successor"
"""Initializer: `MetricalPositions.successor`, int64."""
NOTE_STATE: Final = "notes"
"""Decode graphs, state: rows of `music.tokenizers.note_tracker.NoteTracker`, (batch, size) int32."""
NOTE_PROFILE: Final = "note_profile"
"""Decode graphs, state: weights of the pitch classes of the notes so far, (batch, decays * 12) float32."""
