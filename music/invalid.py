"""What pydantic finds wrong with a document, in words."""

from pydantic import ValidationError


def problems(error: ValidationError, whole: str = "", *, most: int | None = None) -> str:
    """Each problem as `place: message`, in one line.

    Args:
        error: what pydantic raised.
        whole: the place of a problem that is of no field, but of the document; without it, none is named.
        most: tell so many at most; None for all.
    """
    told = ((".".join(map(str, problem["loc"])) or whole, problem["msg"]) for problem in error.errors()[:most])
    return "; ".join(f"{place}: {message}" if place else message for place, message in told)
