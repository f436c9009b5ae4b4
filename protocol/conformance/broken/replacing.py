"""Replaces functions of the imported program with faulty ones."""


def replace(owner: object, name: str, other: object) -> None:
    """Puts something else in the place of a function or a class."""
    setattr(owner, name, other)
