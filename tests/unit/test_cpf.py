"""The CPF held against python-stdnum."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.br import cpf as stdnum_cpf

from consumidor import cpf


@given(st.integers(1, 10**9 - 1))
def test_check_digits_are_the_librarys(base: int) -> None:
    """For any nine digits the two check digits make a CPF that python-stdnum accepts, and no other pair does."""
    text = f"{base:09d}"
    digits = text + cpf.check_digits(text)
    assert stdnum_cpf.is_valid(digits)
    assert cpf.parse(digits) == cpf.parse(cpf.punctuate(digits)) == digits
    assert cpf.punctuate(digits) == stdnum_cpf.format(digits)


@given(st.text("0123456789.-", min_size=11, max_size=14))
def test_what_is_accepted_the_library_accepts(text: str) -> None:
    """Nothing gets in that python-stdnum would refuse."""
    try:
        cpf.parse(text)
    except cpf.InvalidCpf:
        return
    assert stdnum_cpf.is_valid(text)


@pytest.mark.parametrize("text", ["", "465.092.081-73", "4650920817", "465092081720", "465-092-081.72", "00000000000", "465.092.081-72\n",
                                  " 46509208172", "٤٦٥٠٩٢٠٨١٧٢", None, 46509208172, ["46509208172"]])  # fmt: skip
def test_refusals_never_repeat_the_value(text: object) -> None:
    """What is not a CPF is refused in words that hold nothing of it."""
    with pytest.raises(cpf.InvalidCpf) as refused:
        cpf.parse(text)
    assert not text or str(text) not in refused.value.detail


def test_the_pseudonym_needs_the_key() -> None:
    """32 hex digits, the same for the same key and person only."""
    one, other = cpf.pseudonym(bytes(32), "46509208172"), cpf.pseudonym(bytes(31) + b"1", "46509208172")
    assert len(one) == 32
    assert int(one, 16)
    assert one != other
    assert one != cpf.pseudonym(bytes(32), "52443289729")
