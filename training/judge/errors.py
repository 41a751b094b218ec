"""Errors of the judge.

FantasiaError (music.errors)
└── TrainingError (training.errors)
    └── JudgeError           thresholds that cannot be read, a result or a page that is none
"""

from training.errors import TrainingError


class JudgeError(TrainingError):
    """Thresholds cannot be read or name what is not measured, or a result or page is none."""
