"""Writes the pages of docs/ that are made from the code: `make docs`, or `python
docs/gen/pages.py`.

    state-table.md   from zoned.rules, the same table that the C core asks
    errors.md        from zoned.errors and zoned.rules, with messages that real disks gave
    differences.md   from the lists of tests/kernel, which a real kernel has confirmed
    scsi.md          from the SCSI executor's own table of commands
    iscsi-suite.md   from the lists of tests/iscsi, by which a test of libiscsi's suite goes
    nvme.md          from the NVMe executor's own table of commands
    cli.md           from the commands of zonedctl
    fio-options.md   from the declarations of fio's options in zoned.bench
    zonedctl.svg     from a real run of zonedctl

`--check` writes nothing and exits with 1 if a page is stale; a test does the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent


def pages() -> dict[str, Callable[[], str]]:
    """Each generated page with the function that makes its text."""
    sys.path.insert(0, str(Path(__file__).parent))
    import differences_page
    import errors_page
    import fio_options_page
    import iscsi_suite_page
    import nvme_page
    import scsi_page
    import session
    import state_table
    from zoned.cli.reference import render_markdown

    return {
        "state-table.md": state_table.render,
        "errors.md": errors_page.render,
        "differences.md": differences_page.render,
        "scsi.md": scsi_page.render,
        "iscsi-suite.md": iscsi_suite_page.render,
        "nvme.md": nvme_page.render,
        "cli.md": render_markdown,
        "fio-options.md": fio_options_page.render,
        "zonedctl.svg": session.render,
    }


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description="Write the generated pages of docs/.")
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 if one is stale")
    options = parser.parse_args()
    stale = []
    for name, render in pages().items():
        path = DOCS / name
        text = render()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not options.check:
            path.write_text(text, encoding="utf-8")
            print(f"docs/{name} written")
    if options.check:
        for name in stale:
            print(f"docs/{name} is stale: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    if not stale:
        print("docs: every generated page is fresh")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
