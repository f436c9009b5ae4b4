"""Which versions of the agent fit a host: the one that it was made for, and one more either way.

So one of the two can be updated, or taken back, before the other. The first number counts, and
while that is 0 the second; what comes behind does not. From 0 to 1 it is one step, whichever 0 was
the last. Beyond that nobody has tried the two together, even if they speak the same protocol.
"""


def fitting(made_for: str) -> list[str]:
    """The versions that fit, as the numbers they begin with.

    made_for: such as `0.3.1`, which gives `0.2`, `0.3`, `0.4` and `1`. Raises `ValueError` if it
    does not begin with two numbers.
    """
    major, minor = map(int, made_for.split(".")[:2])
    if major:
        return [str(number) for number in (major - 1, major, major + 1)]
    return [f"0.{number}" for number in (minor - 1, minor, minor + 1) if number >= 0] + ["1"]


def fits(version: str, made_for: str) -> bool:
    """Whether an agent of this version will do. What is no version does not."""
    numbers = version.split(".")[:2]
    return not {numbers[0], ".".join(numbers)}.isdisjoint(fitting(made_for))
