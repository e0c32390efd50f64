"""Text in the cells of CSV files that people open with a spreadsheet program, whoever chose the text.

A spreadsheet program computes a cell that begins like a formula. Names of files and drives, and the
reasons of failures, may come from somebody else.
"""

FORMULA = ("=", "+", "-", "@", "\t")  # first characters of what a spreadsheet program computes
QUOTE = "'"  # before a text, it says that the cell is text


def cell(text: object) -> str:
    """The text as a cell: never a formula.

    A carriage return, which csv writes without quotes, appears as a backslash and r; bytes that are no
    UTF-8 appear as a backslash and udcXX.
    """
    plain = str(text).replace("\r", "\\r").encode("utf-8", "backslashreplace").decode("utf-8")
    return QUOTE + plain if plain.startswith((*FORMULA, QUOTE)) else plain


def text_of(written: str) -> str:
    """The text of a cell that `cell` made, but for characters that appear in another form."""
    return written.removeprefix(QUOTE)
