"""Tables as people write them: one reader for every CSV and TSV file, and what its words mean."""

from modality_synthesis.tables.names import safe_place, unsafe_name
from modality_synthesis.tables.reading import Table, TableRow, read_table
from modality_synthesis.tables.words import SESSION, SUBJECT, UNKNOWN, as_number, is_unknown, key, tidy

__all__ = [
    "SESSION",
    "SUBJECT",
    "UNKNOWN",
    "Table",
    "TableRow",
    "as_number",
    "is_unknown",
    "key",
    "read_table",
    "safe_place",
    "tidy",
    "unsafe_name",
]
