"""Which versions of the agent a host accepts: the version it was made for, one before, one after.

This allows updating or downgrading one of the two before the other. The first number counts; while
it is 0, the second number counts. Any 0.x and 1 are one step apart. Larger differences are refused
because no test covers them, even if both speak the same protocol. Example: a host made for 0.3.1
accepts 0.2, 0.3, 0.4 and 1.
"""


def compatible_versions(made_for: str) -> list[str]:
    """The accepted versions, each as the number that it starts with.

    Example: `0.3.1` gives `0.2`, `0.3`, `0.4` and `1`. Raises `ValueError` if `made_for` does not
    start with two numbers.
    """
    major, minor = map(int, made_for.split(".")[:2])
    if major:
        return [str(number) for number in (major - 1, major, major + 1)]
    return [f"0.{number}" for number in (minor - 1, minor, minor + 1) if number >= 0] + ["1"]


def is_compatible(version: str, made_for: str) -> bool:
    """Whether a host made for `made_for` accepts an agent of this version."""
    numbers = version.split(".")[:2]
    return not {numbers[0], ".".join(numbers)}.isdisjoint(compatible_versions(made_for))
