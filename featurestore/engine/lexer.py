"""SQL text as tokens, by DuckDB's lexical rules: what canonical text and the cut of a trailing semicolon need.

It only has to be right about text that DuckDB parses, and it never raises: a character that starts no token is a
token of its own. Where two tokens touch, they stay one wherever DuckDB might see one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class TokenKind(Enum):
    """What a token is."""

    WORD = "word"
    """An unquoted identifier or a keyword."""
    STRING = "string"
    OTHER = "other"
    """A quoted identifier, number, operator or punctuation mark."""
    SEMICOLON = "semicolon"


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Attributes:
        start: of its first character in the text; `end` is behind its last.
        continues: a string that DuckDB joins with the one before, since only layout with a line end is between.
    """

    kind: TokenKind
    text: str
    start: int
    end: int
    continues: bool = False


_SPACE = re.compile(r"[ \t\n\r\f\v]+")
_LINE_COMMENT = re.compile(r"--[^\n\r]*")
_COMMENT_MARK = re.compile(r"/\*|\*/")
_STRING = re.compile(
    r"""  [eE]'(?:[^'\\]|''|\\.)*'
        | (?:[uU]&|[xXbBnN])?'(?:[^']|'')*'
        | \$(?P<tag>(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?)\$.*?\$(?P=tag)\$""",
    re.VERBOSE | re.DOTALL,
)
_OTHER = re.compile(
    r"""  (?:[uU]&)?"(?:[^"]|"")*"
        | (?:[0-9][A-Za-z0-9_.]*|\.[0-9][A-Za-z0-9_]*)(?:(?<=[eE])[+-][0-9]+)?
        | (?:(?!--|/\*)[-+*/<>=~!@\#%^&|`?])+
        | ::|:=""",
    re.VERBOSE,
)
_WORD = re.compile(r"[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*")


def tokens(sql: str) -> Iterator[Token]:
    """The tokens of a text, without layout and comments."""
    at = 0
    after_string = line_end = False
    while at < len(sql):
        if space := _SPACE.match(sql, at):
            line_end = line_end or "\n" in space[0] or "\r" in space[0]
            at = space.end()
        elif comment := _LINE_COMMENT.match(sql, at):
            at = comment.end()
        elif sql.startswith("/*", at):
            at = _end_of_block_comment(sql, at)
            after_string = False
        else:
            token = _token(sql, at, continues=after_string and line_end)
            yield token
            at = token.end
            after_string, line_end = token.kind is TokenKind.STRING, False


def without_semicolon(sql: str) -> str:
    """The text without leading and trailing layout, and without the semicolons that end it.

    What follows the last semicolon (comments) goes with it; other comments stay.
    """
    found = list(tokens(sql))
    end = len(sql)
    while found and found[-1].kind is TokenKind.SEMICOLON:
        end = found.pop().start
    return sql[:end].strip(" \t\n\r\f\v")


def _token(sql: str, at: int, *, continues: bool) -> Token:
    if string := _STRING.match(sql, at):
        return Token(TokenKind.STRING, string[0], at, string.end(), continues)
    if other := _OTHER.match(sql, at):
        return Token(TokenKind.OTHER, other[0], at, other.end())
    if word := _WORD.match(sql, at):
        return Token(TokenKind.WORD, word[0], at, word.end())
    kind = TokenKind.SEMICOLON if sql[at] == ";" else TokenKind.OTHER
    return Token(kind, sql[at], at, at + 1)


def _end_of_block_comment(sql: str, start: int) -> int:
    depth = 0
    for mark in _COMMENT_MARK.finditer(sql, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(sql)
