"""Put a capability table into a README, between its two marks: `table.py TABLE.md README.md`."""

import re
import sys
from pathlib import Path

table, readme = map(Path, sys.argv[1:])
marks = re.compile(r"(<!-- capabilities -->\n).*?(<!-- /capabilities -->)", re.DOTALL)
text, found = marks.subn(
    lambda marked: f"{marked[1]}\n{table.read_text(encoding='utf-8').strip()}\n\n{marked[2]}",
    readme.read_text(encoding="utf-8"),
)
if not found:
    sys.exit(f"{readme} has no place for the table: <!-- capabilities --> and <!-- /capabilities -->")
readme.write_text(text, encoding="utf-8")
