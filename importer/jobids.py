"""The call job ids of an answer, kept as the JSON array they came in as long as nobody looks at one.

Floor: pure. An answer names a thousand ids, and what is asked of them is nearly always the same: how many, all
different, seen before, and written down as they came. Where they are letters and digits of one length all of it is
told by columns of bytes. A newcomer may question a class for that: a Python text for each id costs more than everything
else that is done about an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Octets = npt.NDArray[np.uint8]

_AROUND = 3  # a comma and two quotes
_MOST_DIGITS = 19  # as many as 64 bits hold for certain


class EvenIds(Sequence[str]):
    """Different ids of one length, each of ASCII letters and digits; equal to the tuple of them.

    **Shapes**: `json_text` is their compact JSON array; `numbers` are they as UInt64 where they are all digits.
    """

    __slots__ = ("_size", "_width", "json_text", "numbers")

    def __init__(self, json_text: str, size: int, numbers: npt.NDArray[np.uint64] | None) -> None:
        self.json_text = json_text
        self.numbers = numbers
        self._size = size
        self._width = (len(json_text) - 1) // size

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[str, ...]: ...
    def __getitem__(self, at: int | slice) -> str | tuple[str, ...]:
        if isinstance(at, slice):
            return tuple(self)[at]
        begin = 2 + range(self._size)[at] * self._width
        return self.json_text[begin : begin + self._width - _AROUND]

    def __iter__(self) -> Iterator[str]:
        return iter(self.json_text[2:-2].split('","'))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (tuple, EvenIds)) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"EvenIds({self.json_text})"


def read_even(body: bytes, size: int) -> EvenIds | None:
    """The ids of an answer about `size` rows; None for one that is anything else, and is to be read as JSON."""
    import numpy as np

    width, rest = divmod(len(body) - 1, size) if size else (0, 1)
    if rest or width <= _AROUND or body[:1] != b"[" or body[-1:] != b"]":
        return None
    octets = np.frombuffer(body, np.uint8)[:-1].reshape(size, width)
    ids = octets[:, 2:-1]
    digits = ids - np.uint8(ord("0"))
    is_digits = bool((digits < 10).all())  # below zero wraps round to 200 and more
    is_shaped = (octets[1:, 0] == ord(",")).all() and (octets[:, (1, -1)] == ord('"')).all()
    if not is_shaped or not (is_digits or ids.tobytes().isalnum()):
        return None
    numbers = _numbers(digits) if is_digits and digits.shape[1] <= _MOST_DIGITS else None
    return EvenIds(body.decode(), size, numbers) if _are_different(ids, numbers) else None


def _numbers(digits: Octets) -> npt.NDArray[np.uint64]:
    import numpy as np

    worth = np.array([10**place for place in reversed(range(digits.shape[1]))], dtype=np.uint64)
    return digits.astype(np.uint64) @ worth


def _are_different(ids: Octets, numbers: npt.NDArray[np.uint64] | None) -> bool:
    import numpy as np

    if numbers is None:
        return len(np.unique(np.ascontiguousarray(ids).view(f"S{ids.shape[1]}"))) == len(ids)
    return bool((numbers[1:] > numbers[:-1]).all()) or len(np.unique(numbers)) == len(ids)
