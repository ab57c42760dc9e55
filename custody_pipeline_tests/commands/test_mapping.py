"""`custody mapping check` on a terminal."""

import io
from datetime import date

from rich.console import Console

from custody_pipeline.cli.mapping_page import print_report
from custody_pipeline.models.mapping_report import MappedTagReport, MappingReport, UnmappedTagReport

HOLD = MappedTagReport("custom_data_legal_hold", "Legal-Hold", True, 9, 5, 1, 2, 1, {"details/agent": 5})


def printed(report: MappingReport) -> str:
    file = io.StringIO()
    print_report(Console(file=file, width=80), report)
    return file.getvalue()


def test_each_column_tells_where_its_tag_was_and_was_not() -> None:
    text = printed(MappingReport(date(2026, 11, 2), (HOLD,), ()))

    assert 'custom_data_legal_hold  from "Legal-Hold", required' in text
    assert "found in 5 of 9 · without a known value in 1 · on another participant in 2" in text
    assert "where: details/agent 5" in text
    assert "Every tag of the night is in the mapping." in text


def test_a_key_with_markup_and_line_ends_stays_on_its_line() -> None:
    text = printed(MappingReport(date(2026, 11, 2), (), (UnmappedTagReport("[red]a\nb", 1, ("agent",)),)))

    assert "UNMAPPED_TAG, or TAG_KEY_VARIANT" in text
    assert '  "[red]a\\nb"  1 recording, on agent' in text
