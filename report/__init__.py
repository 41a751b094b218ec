"""Tables, figures, records on disk and generated doc regions. Imports nothing of ours but `music.errors`.

Everything that writes a report uses these parts: benchmarks, evaluation, model cards, research.

    from report import PALETTE, Record, Region, Table, figure, render_template

    class LossRecord(Record):  # frozen; unknown fields are refused
        name: str
        losses: tuple[float, ...]

    record = LossRecord(name="chorales", losses=(0.61, 0.52))
    record.save(folder / "chorales.json")  # the whole file or nothing
    record = LossRecord.load(folder / "chorales.json")  # RecordError names the file and the field
    records = LossRecord.load_folder(folder)  # by file name without .json

    table = Table(("model", "best loss"), [(record.name, f"{min(record.losses):.2f}")], title="Losses")
    print(table.as_text())

    with figure(page.parent / "images/loss.png", width=7.5, height=3.6) as drawing:  # saved when the block ends
        drawing.subplots().plot(record.losses, color=PALETTE[0], label=record.name)

    body = render_template(Path(__file__).with_name("losses.md.jinja"), tables=[table])
    Region("losses", command="make losses").write(page, body)  # between the marks in a Markdown page
"""

from report.figures import PALETTE, figure
from report.files import check_writable, replace_file
from report.pages import PageError, Region, render_template
from report.records import Record, RecordError
from report.tables import Table

__all__ = [
    "PALETTE",
    "PageError",
    "Record",
    "RecordError",
    "Region",
    "Table",
    "check_writable",
    "figure",
    "render_template",
    "replace_file",
]
