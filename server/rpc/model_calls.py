"""What the handlers keep for each loaded model."""

from fantasia.v1 import generation_pb2 as pb
from server.catalogue import ServedModel
from server.rpc.evaluation import Evaluations
from server.rpc.generation_spec import model_terms
from server.rpc.messages import model_message
from server.rpc.request_limits import RequestLimits
from server.rpc.resume_token import ResumeTokens


class ModelCalls:
    """What calls of one model share: its terms, its description and its evaluations.

    Args:
        model: the model.
        limits: what a request may bring and ask for.
        resume_tokens: makes and opens resume tokens.

    Raises:
        StartupError: the model cannot be described to callers.
    """

    def __init__(self, model: ServedModel, limits: RequestLimits, resume_tokens: ResumeTokens) -> None:
        self.terms = model_terms(model, limits, resume_tokens)
        self.evaluations = Evaluations(model, limits)
        self._description = model_message(model, self.terms)

    def description(self, *, default_version: bool) -> pb.Model:
        """The message that describes the model.

        Args:
            default_version: whether calls that name the model without a version get this one.
        """
        message = pb.Model(default_version=default_version)
        message.MergeFrom(self._description)
        return message

    def close(self) -> None:
        """End the threads."""
        self.evaluations.close()
