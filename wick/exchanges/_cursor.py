"""A cursor that walks through many texts at once, with numpy: the steps of which layouts of trades are made. Pure.

It stands in every text, and takes the same step in all: a literal, a number, a name. Where a text does not fit, it is
marked, and the walk goes on there through whatever there is. A word is 8 bytes, of anywhere; 8 digits become a number
by three multiplications: https://lemire.me/blog/2022/01/21/swar-explained-parsing-eight-digits/
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from wick.errors import ParseError
from wick.exchanges._text import EARLIEST_MS, LATEST_MS, SECONDS, Names

Words = NDArray[np.uint64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Decimals = tuple[Ints, Ints]

SPAN = 80  # bytes fetched together: they cost as much as 8
BEYOND = bytes(1_024)  # no walk goes further than so past the frame that it does not fit
MOST_SECONDS = 16  # different ones in a read
MOST_NAMES, SLOTS = 16_384, 2**16

_U = np.uint64
_1, _3, _6, _8, _16, _24, _32, _63, _64, _FF, _FFFF = map(_U, (1, 3, 6, 8, 16, 24, 32, 63, 64, 0xFF, 0xFFFF))
_BITS, _LONGEST, _100000, _POINT = map(_U, (0x78, 19 * 8, 100_000, ord(".")))
_K0, _K1 = _U(0x9E37_79B9_7F4A_7C15), _U(0xC2B2_AE3D_27D4_EB4F)
_POW10 = np.array([10**k for k in range(20)], np.uint64)
_SWAR = tuple(
    (_U(factor), _U(shift), _U(mask))
    for factor, shift, mask in (
        (10, 8, 0x00FF_00FF_00FF_00FF),
        (100, 16, 0x0000_FFFF_0000_FFFF),
        (10_000, 32, 2**32 - 1),
    )
)


def _each(byte: int) -> np.uint64:
    """A word of that byte."""
    return _U(byte * 0x0101_0101_0101_0101)


_ONES, _TOPS, _40, _ZEROS, _TO_80, _DASHES = map(_each, (1, 0x80, 0x40, ord("0"), 0x80 - 10, ord("-")))
_BACKSLASHES = _each(ord("\\"))


def _numbers(digits: Words) -> Words:
    """Of each word's 8 bytes, 0 to 9 each, the number; its first digit is in the lowest byte. Overwrites them."""
    following = np.empty_like(digits)
    for factor, shift, mask in _SWAR:
        np.right_shift(digits, shift, out=following)
        digits *= factor
        digits += following
        digits &= mask
    return digits


def _bits_before(flags: Words) -> Words:
    """How many bits there are before the first byte whose top bit is set: 0, 8, ... 64. Overwrites the flags."""
    below = flags - _1
    np.invert(flags, out=flags)
    below &= flags
    bits: Words = np.bitwise_count(below).astype(np.uint64)
    bits &= _BITS
    return bits


def _no_digits(digits: Words) -> Words:
    """Flags of bytes over 9; right up to the first of them."""
    flags = digits + _TO_80
    flags |= digits
    flags &= _TOPS
    return flags


def _zeros(words: Words) -> Words:
    """Flags of bytes that are 0; right up to the first of them. Overwrites the words."""
    less = words - _ONES
    np.invert(words, out=words)
    less &= words
    less &= _TOPS
    return less


def _word(text: bytes) -> tuple[np.uint64, np.uint64]:
    """A text of up to 8 bytes as a word, and the mask of where it is."""
    return _U(int.from_bytes(text, "little")), _U((1 << 8 * len(text)) - 1)


@cache
def _words(text: bytes) -> list[tuple[int, np.uint64, np.uint64]]:
    """Where a text's words begin (the last two may overlap), they, and their masks."""
    starts = [*range(0, len(text) - 7, 8)] or [0]
    if len(text) > starts[-1] + 8:
        starts.append(len(text) - 8)
    return [(start, *_word(text[start : start + 8])) for start in starts]


class Symbols:
    """The codes of native names of up to 15 bytes, by their two words; made by a venue's `Names`."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._clear()

    def _clear(self) -> None:
        self.symbols = [""]  # code 0: no name
        self._known = np.zeros((2, 1), np.uint64)  # the names, by code
        self._slots = np.zeros((2, SLOTS), np.int64)  # codes; what finds its place taken goes to the second row

    def codes(self, names: Words, sound: Flags) -> Ints:
        """0 where a name is none. New ones are learnt where all is sound so far."""
        codes = self._find(names)
        new = codes == 0
        new &= sound
        if new.any():
            for first, second in {*zip(*names[:, new].tolist(), strict=True)}:
                self._learn(first, second)
            codes = self._find(names)
        return codes

    def _find(self, names: Words) -> Ints:
        hashes = names[0] * _K0
        hashes ^= names[1] * _K1
        hashes >>= _32
        codes: Ints = self._slots[0][(hashes >> _16).view(np.int64)]
        known = self._is(codes, names)
        if not known.all():
            hashes &= _FFFF
            codes = np.where(known, codes, self._slots[1][hashes.view(np.int64)])
            codes *= self._is(codes, names)
        return codes

    def _is(self, codes: Ints, names: Words) -> Flags:
        known: Flags = self._known[0][codes] == names[0]
        known &= self._known[1][codes] == names[1]
        return known

    def _learn(self, first: int, second: int) -> None:
        text = (first | second << 64).to_bytes(16, "little")
        try:
            symbol = self._names[text[: text[15]].decode("ascii")]
        except (ParseError, UnicodeDecodeError):
            return
        if len(self.symbols) >= MOST_NAMES:
            self._clear()
        found = (first * int(_K0) ^ second * int(_K1)) % 2**64
        places = (0, found >> 48), (1, found >> 32 & 0xFFFF)
        for place in places:
            if not self._slots[place]:
                self._slots[place] = len(self.symbols)
                self._known = np.append(self._known, np.array([[first], [second]], np.uint64), axis=1)
                self.symbols = [*self.symbols, symbol]  # who has the old list keeps it
                return


class Cursor:
    """Where the walk stands in each frame. A step that does not fit somewhere marks that frame, and goes on."""

    def __init__(self, text: bytes, starts: Ints, ends: Ints, symbols: Symbols) -> None:
        self._symbols, self._ends, self._count = symbols, ends, len(starts)
        self._pieces: NDArray[np.void] = np.ndarray((len(text) - SPAN,), f"V{SPAN}", text, 0, (1,))
        self._wrong, self._odd = np.zeros(len(starts), np.uint64), np.zeros(len(starts), np.bool_)
        self._at, self._offset = starts, 0
        self._piece = self._pieces[starts]

    def is_good(self) -> Flags:
        """Whether all fitted, and the frame is at its end."""
        good: Flags = self._at + self._offset == self._ends
        good &= self._sound()
        return good

    def _sound(self) -> Flags:
        sound: Flags = self._wrong == 0
        sound &= ~self._odd
        return sound

    def _go(self, bits: Words) -> None:
        """Go on, by another length in each."""
        bits = bits >> _3
        bits += _U(self._offset)
        self._at, self._offset = self._at + bits.view(np.int64), 0
        self._piece = self._pieces[self._at]

    def _need(self, width: int) -> None:
        """Have so many bytes at hand."""
        if self._offset + width > SPAN:
            self._go(np.zeros(self._count, np.uint64))

    def _see(self, count: int, step: int = 8) -> Words:
        """So many words from here on, as rows."""
        self._need((count - 1) * step + 8)
        return np.ndarray((count, self._count), "<u8", self._piece, self._offset, (step, SPAN)).copy()

    def _look(self, ahead: int = 0) -> Words:
        """A word of what is at hand."""
        return np.ndarray(self._count, "<u8", self._piece, self._offset + ahead, SPAN).copy()

    def literal(self, text: bytes) -> None:
        self._need(max(8, len(text)))
        for start, word, mask in _words(text):
            found = self._look(start)
            found ^= word
            if len(text) < 8:
                found &= mask
            self._wrong |= found
        self._offset += len(text)

    def either(self, first: bytes, second: bytes) -> Flags:
        """One of two texts of up to 8 bytes: whether it is the first."""
        self._need(8)
        found = self._look()
        (one, one_mask), (other, other_mask) = _word(first), _word(second)
        is_first: Flags = (found & one_mask) == one
        found &= other_mask
        self._odd |= ~(is_first | (found == other))
        if len(first) == len(second):
            self._offset += len(first)
        else:
            self._go(np.where(is_first, _U(8 * len(first)), _U(8 * len(second))))
        return is_first

    def name(self, end: bytes) -> Words:
        """Up to 15 bytes that the byte `end` follows: two words, in the last byte their count."""
        found = self._see(2)
        bits = _bits_before(_zeros(found ^ _each(end[0])))
        bits[1] *= bits[0] >> _6
        unused = _64 - bits
        found <<= unused
        found >>= unused
        length = bits[0] + bits[1]
        self._wrong |= length >> _U(7)
        found[1] += length << _U(53)
        self._go(length)
        return found

    def codes(self, name: Words, small: Words | None = None) -> Ints:
        """The symbol of the name; `small`: it again, in small letters."""
        if small is not None:
            wanted = name & _40
            wanted >>= _1
            wanted |= name
            wanted ^= small
            self._wrong |= wanted[0]
            self._wrong |= wanted[1]
        codes = self._symbols.codes(name, self._sound())
        self._odd |= codes == 0
        return codes

    def refuse(self, which: Flags) -> None:
        self._odd |= which

    def same(self, name: Words, other: Words) -> None:
        self._wrong |= name[0] ^ other[0]
        self._wrong |= name[1] ^ other[1]

    def opaque(self) -> None:
        """36 bytes of a JSON text, from `-` on and but for the backslash: a UUID."""
        self._need(36)
        for ahead in (0, 8, 16, 24, 28):
            found = self._look(ahead)
            bad = found - _DASHES
            bad |= found
            found ^= _BACKSLASHES
            bad |= _zeros(found)
            bad &= _TOPS
            self._wrong |= bad
        self._offset += 36

    def unused_milliseconds(self) -> None:
        """13 digits that begin with none of 0."""
        found = self._see(2, 5)
        self._offset += 13
        found ^= _ZEROS
        self._odd |= (found[0] & _FF) == 0
        flags = _no_digits(found)
        self._wrong |= flags[0]
        self._wrong |= flags[1]

    def milliseconds(self) -> Ints:
        """13 digits, as nanoseconds."""
        found = self._see(2, 5)
        self._offset += 13
        found ^= _ZEROS
        flags = _no_digits(found)
        self._wrong |= flags[0]
        self._wrong |= flags[1]
        found[1] >>= _24  # the first three are in both words
        found[1] <<= _24
        high, low = _numbers(found)
        high *= _100000
        high += low
        time_ms: Ints = high.view(np.int64)
        self._odd |= (time_ms < EARLIEST_MS) | (time_ms >= LATEST_MS)
        time_ms *= 1_000_000
        return time_ms

    def rfc3339(self) -> Ints:
        """`2024-08-09T00:00:00.123456`, with up to 8 digits behind the point, as nanoseconds."""
        words, at_ns = np.concatenate([self._see(2), self._see(2, 11)[1:]]), np.zeros(self._count, np.int64)
        todo = self._sound()
        for _ in range(MOST_SECONDS):
            if not todo.any():
                break
            first, second, third = words[:, todo.argmax()]
            same = (words[0] == first) & (words[1] == second) & (words[2] == third)
            todo &= ~same
            text = first.tobytes() + second.tobytes() + third.tobytes()[5:]
            try:
                at_ns[same] = SECONDS[text.decode("ascii")]
            except (ParseError, UnicodeDecodeError):
                self._odd |= same
        self._odd |= todo
        self._offset += 19
        self.literal(b".")
        fraction = self._see(1)
        fraction ^= _ZEROS
        bits = _bits_before(_no_digits(fraction))
        self._odd |= bits[0] == 0
        unused = _64 - bits
        fraction <<= unused
        fraction >>= unused
        at_ns += _numbers(fraction)[0].view(np.int64) * 10
        self._go(bits[0])
        return at_ns

    def integer(self, words: int = 2) -> Ints:
        """Of at most 16 digits, with three words 19, that begins with none of 0: an id."""
        found = self._see(words)
        found ^= _ZEROS
        self._odd |= (found[0] & _FF) == 0
        bits = _bits_before(_no_digits(found))
        for at in range(1, words):
            bits[at] *= bits[at - 1] >> _6
        found <<= _64 - bits
        length = bits[0] + bits[1]
        if words > 2:
            length += bits[2]
        bits >>= _3
        value, *others = _numbers(found)
        for at, low in enumerate(others, 1):
            value *= _POW10[bits[at].view(np.int64)]
            value += low
        if words > 2:
            self._odd |= length > _LONGEST
            self._wrong |= value >> _63
        self._odd |= value == 0
        self._go(length)
        number: Ints = value.view(np.int64)
        return number

    def decimal(self, *, is_json: bool = False) -> Decimals:
        """Up to 8 digits, perhaps a point and up to 8 more; not 0: the mantissa, and the decimals that count."""
        found = np.empty((2, self._count), np.uint64)
        whole = found[0]
        self._need(8)
        np.bitwise_xor(self._look(), _ZEROS, out=whole)
        bits = _bits_before(_no_digits(whole))
        self._odd |= bits == 0
        if is_json:
            self._odd |= ((whole & _FF) == 0) & (bits != _8)
        whole <<= _64 - bits
        self._go(bits)
        point = ((self._look() & _FF) == _POINT).astype(np.uint64)
        fraction = self._look(1)
        fraction ^= _ZEROS
        bits = _bits_before(_no_digits(fraction))
        bits *= point
        self._odd |= bits < point  # nothing is behind it
        unused = _64 - bits
        kept = fraction << unused
        kept >>= unused
        # The last digit but for zeros is in the highest byte with a bit: the float's exponent tells it.
        decimals: Ints = kept.astype(np.float64).view(np.int64)
        decimals >>= 52
        decimals -= 1_023 - 8
        decimals >>= 3
        np.maximum(decimals, 0, out=decimals)
        np.left_shift(fraction, _64 - (decimals.view(np.uint64) << _3), out=found[1])
        value, low = _numbers(found)
        value *= _POW10[decimals]
        value += low
        self._odd |= value == 0
        point <<= _3
        bits += point
        self._go(bits)
        return value.view(np.int64), decimals
