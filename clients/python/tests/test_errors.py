import pickle

from grpc import StatusCode

import fantasia_client
from fantasia_client import (
    FantasiaClientError,
    FieldViolation,
    InvalidRequestError,
    errors,
)


def test_the_module_docstring_lists_every_error() -> None:
    classes = {
        name: cls
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, Exception) and not name.startswith("_")
    }
    for name, cls in classes.items():
        assert name in (errors.__doc__ or "")
        assert issubclass(cls, FantasiaClientError)
        assert getattr(fantasia_client, name) is cls
        assert name in fantasia_client.__all__


def test_errors_can_be_pickled() -> None:
    error = InvalidRequestError(
        "bars: no", violations=(FieldViolation("bars", "no"),), code=StatusCode.INVALID_ARGUMENT
    )
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    assert (str(copy), copy.violations, copy.code) == (str(error), error.violations, error.code)
