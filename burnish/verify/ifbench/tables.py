"""IFBench's custom:* instructions that ask for CSV data or for a list in a set order."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from burnish.verify.ifbench.lists import AFRICA, CAPITAL_SPELLINGS, CAPITALS, plain_ascii
from burnish.verify.ifbench.words_of import MARKS_AND_SPACE
from burnish.verify.ifeval.constraints import Finding

Rows = list[list[str]]


def _rows(text: str, delimiter: str = ",") -> Rows | str:
    """The rows of CSV text, or why it is none."""
    try:
        return list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        return f"not CSV: {error}"


def _shape(rows: Rows | str, count: int, columns: int) -> Finding | None:
    """What is wrong with the shape of the rows behind the header, or None."""
    if isinstance(rows, str):
        return Finding(False, rows)
    if len(rows) != count + 1:
        return Finding(False, f"lines of CSV: {len(rows)}, wanted a header and {count} rows")
    for i, row in enumerate(rows[1:], start=1):
        if len(row) != columns:
            return Finding(False, f"row {i} has {len(row)} fields, wanted {columns}")
    return None


def _solid(text: str) -> str:
    """`text` without blank lines."""
    return "\n".join(line for line in text.split("\n") if line.strip())


@dataclass(frozen=True, slots=True)
class CsvCity:
    """CSV with the columns ID, Country, City, Year, Count and seven rows."""

    ID: ClassVar[str] = "custom:csv_city"
    COLUMNS: ClassVar[tuple[str, ...]] = ("ID", "Country", "City", "Year", "Count")

    def check(self, text: str) -> Finding:
        """Passes over blank lines and over spaces around the names of columns."""
        return self._finding(_rows(_solid(text)))

    def check_published(self, text: str) -> Finding:
        """Takes a blank line for a row, and a space before a column's name for part of it."""
        return self._finding(_rows(text), strip=False)

    def _finding(self, rows: Rows | str, strip: bool = True) -> Finding:
        wrong = _shape(rows, 7, 5)
        if wrong or isinstance(rows, str):
            return wrong or Finding(False, str(rows))
        header = [name.strip() for name in rows[0]] if strip else rows[0]
        followed = tuple(header) == self.COLUMNS
        return Finding(followed, f"columns {', '.join(header)[:80]}, wanted {', '.join(self.COLUMNS)}; 7 rows")


def _header(line: str, names: Sequence[str], delimiter: str) -> bool:
    """True if `line` holds the column names, quoted or not, with the delimiter and white space between them."""
    gap = r"[ \t]*" if delimiter == "," else " *"
    quoted = (f'(?:{name}|"{name}")' for name in names)
    return re.match(f"^{f'{delimiter}{gap}'.join(quoted)}$", line.strip()) is not None


def _keeping_quotes(text: str, delimiter: str = ",") -> Rows | str:
    """The rows of CSV text whose fields keep the quotes around them."""
    return _rows(text.replace('"', '"""'), delimiter)


def _special(field: str) -> bool:
    """True if a field starts in quotes, and a character between its first line's outer quotes is no word's and no space."""
    line = field.partition("\n")[0]
    stop = line.rfind('"')
    return line.startswith('"') and stop > 0 and re.search(r"[^\w\s]", line[1:stop]) is not None


@dataclass(frozen=True, slots=True)
class CsvSpecialCharacter:
    """CSV with the columns ProductID, Category, Brand, Price, Stock, 14 rows, and a quoted field with a special character."""

    ID: ClassVar[str] = "custom:csv_special_character"
    COLUMNS: ClassVar[tuple[str, ...]] = ("ProductID", "Category", "Brand", "Price", "Stock")

    def check(self, text: str) -> Finding:
        """Looks at every row, and passes over blank lines."""
        text = _solid(text)
        if not _header(text.split("\n")[0], self.COLUMNS, ","):
            return self._no_header()
        rows = _keeping_quotes(text)
        wrong = _shape(rows, 14, 5)
        return wrong or self._finding(any(_special(field) for row in rows[1:] for field in row))

    def check_published(self, text: str) -> Finding:
        """Stops at the first row with such a field: the rows behind it may have any number of fields."""
        if not _header(text.split("\n")[0], self.COLUMNS, ","):
            return self._no_header()
        rows = _keeping_quotes(text)
        if isinstance(rows, str) or len(rows) != 15:
            return _shape(rows, 14, 5) or self._finding(False)
        for i, row in enumerate(rows[1:], start=1):
            if len(row) != 5:
                return Finding(False, f"row {i} has {len(row)} fields, wanted 5")
            if any(map(_special, row)):
                return self._finding(True)
        return self._finding(False)

    def _no_header(self) -> Finding:
        return Finding(False, f"the first line is not {','.join(self.COLUMNS)}")

    def _finding(self, followed: bool) -> Finding:
        return Finding(followed, f"a quoted field with a special character {'is there' if followed else 'is missing'}")


@dataclass(frozen=True, slots=True)
class CsvQuotes:
    """Tab-separated data with the columns StudentID, Subject, Grade, Semester, Score, three rows, every field in quotes."""

    ID: ClassVar[str] = "custom:csv_quotes"
    COLUMNS: ClassVar[tuple[str, ...]] = ("StudentID", "Subject", "Grade", "Semester", "Score")

    def check(self, text: str) -> Finding:
        """Passes over blank lines."""
        return self.check_published(_solid(text))

    def check_published(self, text: str) -> Finding:
        """Takes a blank line for a row. An empty field without quotes, on which the published code stops, is not followed."""
        if not _header(text.split("\n")[0], self.COLUMNS, "\t"):
            return Finding(False, f"the first line is not {', '.join(self.COLUMNS)} with tabs between")
        rows = _keeping_quotes(text, "\t")
        wrong = _shape(rows, 3, 5)
        if wrong:
            return wrong
        bare = [field for row in rows for field in row if field.strip()[:1] != '"' or field.strip()[-1:] != '"']
        return Finding(not bare, f"a field without quotes: {bare[0][:30]!r}" if bare else "every field is in quotes")


_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})$")
_DAYS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


@dataclass(frozen=True, slots=True)
class DateFormatList:
    """Dates of Napoleon's lifetime (1769 to 1821) as YYYY-MM-DD, separated by commas, and nothing else."""

    ID: ClassVar[str] = "custom:date_format_list"

    def check(self, text: str) -> Finding:
        """Asks that each is a day of the calendar."""
        found = self.check_published(text)
        for part in text.split(",") if found.followed else ():
            try:
                date.fromisoformat(part.strip())
            except ValueError:
                return Finding(False, f"{part.strip()!r} is no date")
        return found

    def check_published(self, text: str) -> Finding:
        """Takes month 00, day 00 and the 29th of any February for dates."""
        for part in map(str.strip, text.split(",")):
            match = _DATE.match(part)
            if match is None:
                return Finding(False, f"{part[:30]!r} is no date as YYYY-MM-DD")
            year, month, day = map(int, match.groups())
            if not 1769 <= year <= 1821 or month > 12 or day > (_DAYS.get(month, 31) if month else 99):
                return Finding(False, f"{part!r} is no day between 1769 and 1821")
        return Finding(True, f"{text.count(',') + 1} dates as YYYY-MM-DD")


@dataclass(frozen=True, slots=True)
class EuropeanCapitals:
    """The capitals of Europe north of 45 degrees, from north to south, separated by commas; accents do not count."""

    ID: ClassVar[str] = "custom:european_capitals_sort"

    def check(self, text: str) -> Finding:
        """Asks for Kyiv too, which the published list leaves out; a full stop may end the list."""
        found = [part.strip() for part in plain_ascii(text).strip().removesuffix(".").split(",")]
        return self._finding([CAPITAL_SPELLINGS.get(name, name) for name in found], CAPITALS)

    def check_published(self, text: str) -> Finding:
        """Asks for the published 27 in one spelling."""
        found = [part.strip() for part in plain_ascii(text).split(",") if part.strip()]
        return self._finding(found, [name for name in CAPITALS if name != "Kyiv"])

    def _finding(self, found: list[str], wanted: Sequence[str]) -> Finding:
        if len(found) != len(wanted):
            return Finding(False, f"names: {len(found)}, wanted {len(wanted)}")
        for i, (name, right) in enumerate(zip(found, wanted, strict=True), start=1):
            if name != right:
                return Finding(False, f"name {i} is {name[:30]!r}, wanted {right!r}")
        return Finding(True, f"{len(found)} capitals from north to south")


_COUNTRY = {name: names[0] for names in AFRICA for name in names}


def _country(line: str) -> str:
    """The country that a line names, also with another name in brackets behind it; "" for none."""
    for text in (line, line.partition("(")[0]):
        name = " ".join(re.sub(r"[^a-z]+", " ", text.lower().replace("'", "")).split())
        if name in _COUNTRY:
            return _COUNTRY[name]
    return ""


@dataclass(frozen=True, slots=True)
class ReverseNewline:
    """The countries of Africa in reverse alphabetical order, one a line, from Zimbabwe on; accents do not count."""

    ID: ClassVar[str] = "custom:reverse_newline"

    def check(self, text: str) -> Finding:
        """Asks for 52 different countries of Africa; words before the list may stand, and bullets or numbers in it."""
        lines = [re.sub(r"^[\W\d_]+", "", line) for line in plain_ascii(text).split("\n")]
        lines = [line.rstrip(MARKS_AND_SPACE) for line in lines if line]
        ordered = self._ordered(lines)
        if not ordered.followed:
            return ordered
        start = next(i for i, line in enumerate(lines) if "Zimbabwe" in line)
        found = [_country(line) for line in lines[start:]]
        for line, name in zip(lines[start:], found, strict=True):
            if not name:
                return Finding(False, f"{line[:40]!r} is no country of Africa")
        return Finding(len(set(found)) == len(found), f"countries: {len(found)}, different: {len(set(found))}")

    def check_published(self, text: str) -> Finding:
        """Asks for 52 lines of anything in reverse order."""
        lines = [line.strip(MARKS_AND_SPACE) for line in text.split("\n")]
        return self._ordered([line for line in lines if line])

    def _ordered(self, lines: list[str]) -> Finding:
        start = next((i for i, line in enumerate(lines) if "Zimbabwe" in line), None)
        if start is None:
            return Finding(False, "Zimbabwe is missing")
        found = list(map(plain_ascii, lines[start:]))
        if len(found) < 52:
            return Finding(False, f"lines from Zimbabwe on: {len(found)}, wanted at least 52")
        followed = found == sorted(found, reverse=True)
        return Finding(followed, f"{len(found)} lines {'in' if followed else 'not in'} reverse alphabetical order")
