"""Which tokens begin a note: the ones that say something, where rests and holds are easily guessed."""

import numpy as np
from numpy.typing import NDArray

from music.tokenizers import GridTokenizer, NoteChordTokenizer, Tokenizer
from music.tokenizers import grid as grid_tokens
from music.tokenizers import notechord as notechord_tokens

_PITCH = "pitch"


def onset_tokens(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """Whether each token begins a note, (vocabulary,).

    In `grid` that is every pitch, in `notechord` every sonority, elsewhere every token whose name says pitch.
    """
    tokens = np.arange(tokenizer.vocabulary_size)
    if isinstance(tokenizer, GridTokenizer):
        return tokens >= grid_tokens.FIRST_PITCH
    if isinstance(tokenizer, NoteChordTokenizer):
        return tokens >= notechord_tokens.FIRST_NAME
    return np.array([tokenizer.token_name(int(token)).lower().startswith(_PITCH) for token in tokens])
