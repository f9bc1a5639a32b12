"""How cases of others' suites ended is found in what these print, failures above all."""

from __future__ import annotations

from run.suites import ends_of_libzbc

RED, GREEN, PLAIN = "\x1b[1;31m", "\x1b[1;32m", "\x1b[m"


def line(number: str, end: str) -> str:
    return f"    {number}: OPEN_ZONE [all] of zones...\r\x1b[71C{end}\n"


def test_every_case_has_its_end() -> None:
    told = (
        "Executing section 00 - ZBC command completion tests...\n"
        + line("00.010", f"[{GREEN}Passed{PLAIN}]")
        + line("00.011", f"[{GREEN}Passed (libzbc){PLAIN}]")
        + line("00.020", f"[N/A No zone is of type 0x4{PLAIN}]")
        + line("01.070", f"[{RED}Failed{PLAIN}] log/zsg0/urswrz_y/01/070.log")
        + "FAIL        => Expected Illegal-request / Unaligned-write-command\n"
        + line("01.071", "")
        + line("01.072", f"[{GREEN}Passed{PLAIN}]\n[{RED}Failed{PLAIN}] log/zsg0/01/072.log")
        + line("00.010", f"[{GREEN}Passed{PLAIN}]")
    )
    for newlines in (told, told.replace("\r", "\n")):  # as Python reads text of a program
        assert ends_of_libzbc(newlines) == {
            "00.010": "twice, Passed",
            "00.011": "Passed",
            "00.020": "N/A",
            "01.070": "Failed",
            "01.071": "no end",
            "01.072": "Passed, Failed",
        }
