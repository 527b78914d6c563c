"""The CPF: parse, verify, mask, and the pseudonym under which the three bases know a person.

A CPF has eleven digits, the last two of which check the rest (Instrução Normativa RFB 2.172/2024; the rule is python-stdnum's
`stdnum.br.cpf`, against which a property test holds the few lines here: they cost a fraction of the library's 6.6 µs, on the
path where that shows).
"""

import hmac
import re

from consumidor.errors import ConsumidorError

_SHAPE = re.compile(r"([0-9]{3})\.?([0-9]{3})\.?([0-9]{3})-?([0-9]{2})")
_INSIDE = re.compile(r"(?<![0-9])[0-9]{3}\.?[0-9]{3}\.?[0-9]{3}-?[0-9]{2}(?![0-9])")
_DOTTED = 14  # characters of ddd.ddd.ddd-dd


class InvalidCpf(ConsumidorError):
    """Not a CPF. The message says why and never repeats the value."""

    status, title = 422, "Invalid CPF"


def check_digits(base: str) -> str:
    """The two check digits of the first nine (`"465092081"` -> `"72"`)."""
    # Written out: a loop over weights costs three times as much. 48 is the code of "0"; 48 * 54 and 48 * 63 take it out of each sum.
    a, b, c, d, e, f, g, h, i = base.encode()
    first = (48 * 54 - (10 * a + 9 * b + 8 * c + 7 * d + 6 * e + 5 * f + 4 * g + 3 * h + 2 * i)) % 11 % 10
    second = (48 * 63 - (11 * a + 10 * b + 9 * c + 8 * d + 7 * e + 6 * f + 5 * g + 4 * h + 3 * i) - 2 * first) % 11 % 10
    return f"{first}{second}"


def parse(text: object) -> str:
    """The eleven digits of a CPF written with or without punctuation.

    Raises:
        InvalidCpf: not a string of that shape, all zeros, or wrong check digits.
    """
    match = _SHAPE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidCpf("a CPF is 11 digits, as ddd.ddd.ddd-dd or without punctuation")
    base, check = match[1] + match[2] + match[3], match[4]
    if check != check_digits(base) or base == "000000000":
        raise InvalidCpf("the CPF's check digits are wrong")
    return base + check


def punctuate(digits: str) -> str:
    """`46509208172` -> `465.092.081-72`."""
    return f"{digits[:3]}.{digits[3:6]}.{digits[6:9]}-{digits[9:]}"


def mask(text: str) -> str:
    """The text with `[cpf]` in the place of whatever has the shape of one.

    Between letters, as in a hexadecimal id, eleven digits without all the punctuation count only where their check digits are right.
    """
    return _INSIDE.sub(_masked, text)


def _masked(found: re.Match[str]) -> str:
    text, (start, end) = found.string, found.span()
    digits = found[0].replace(".", "").replace("-", "")
    inside_a_word = text[max(0, start - 1) : start].isalpha() or text[end : end + 1].isalpha()
    is_one = end - start == _DOTTED or not inside_a_word or check_digits(digits[:9]) == digits[9:]
    return "[cpf]" if is_one else found[0]


def pseudonym(key: bytes, digits: str) -> str:
    """The person's key in all three bases: lower-case hex of the first 16 bytes of HMAC-SHA-256(key, the 11 digits).

    A plain hash would be no protection: all 10^9 valid CPFs hash in minutes. Only the doors hold the key.
    """
    return hmac.digest(key, digits.encode(), "sha256")[:16].hex()
