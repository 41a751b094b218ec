"""`python -m tools.grafana_dashboard FILE`: writes the Grafana dashboard.

The panels are listed here; the builders of Grafana's own SDK make the JSON, so that names and types of all fields are
those of Grafana.
"""

import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions, VizTooltipOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    VariableOption,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

_DATASOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
_HEIGHT: Final = 8

_JOB: Final = 'job=~"$job", instance=~"$instance"'
_MODEL: Final = f'{_JOB}, model=~"$model"'
# Recorded series of a job have no instance.
_RECORDED: Final = 'job=~"$job"'
_RECORDED_MODEL: Final = 'job=~"$job", model=~"$model"'


@dataclass(frozen=True, slots=True)
class Graph:
    """A panel with lines over time."""

    title: str
    text: str
    """What it shows, in words."""
    unit: str
    """Unit of the values, as Grafana names it."""
    queries: tuple[tuple[str, str], ...]
    """Each query with the legend of its lines."""
    columns: int = 8


@dataclass(frozen=True, slots=True)
class Number:
    """A panel with the latest values as numbers."""

    title: str
    text: str
    unit: str
    query: str
    legend: str
    columns: int = 6


@dataclass(frozen=True, slots=True)
class Table:
    """A panel with the labels of an info metric, a row for each series."""

    title: str
    text: str
    query: str
    hidden: tuple[str, ...]
    """Labels without a column."""
    columns: int = 12


Panel = Graph | Number | Table


def _rate(metric: str, by: str, labels: str = _MODEL) -> str:
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def _quantile(share: float, metric: str, by: str = "model", labels: str = _MODEL) -> str:
    return f"histogram_quantile({share}, {_rate(f'{metric}_bucket', f'{by}, le', labels)})"


def _half_and_99(metric: str, by: str = "model", labels: str = _MODEL) -> tuple[tuple[str, str], ...]:
    """A query for each of two quantiles: half of the values are below the first, 99 % below the second."""
    shares = ((0.5, "half"), (0.99, "99 %"))
    return tuple((_quantile(share, metric, by, labels), f"{{{{{by}}}}}, {name}") for share, name in shares)


_ROWS: Final[dict[str, tuple[Panel, ...]]] = {
    "Requests": (
        Number(
            "Replicas", "Replicas that are scraped, by version.", "none",
            f"count by (version) (fantasia_server_info{{{_JOB}}})", "{{version}}",
        ),
        Number(
            "Error budget left", "Share that the failures of the last 3 days leave, if all 30 days were like them.",
            "percentunit",
            f"1 - fantasia:requests_failed:ratio_rate3d{{{_RECORDED}}} / scalar(fantasia:error_budget:ratio)",
            "{{job}}",
        ),
        Number(
            "Pieces in flight", "Sequences that wait or run.", "none",
            f"sum by (model) (fantasia_sequences_in_flight{{{_MODEL}}})", "{{model}}",
        ),
        Number(
            "Tokens a second", "Tokens of finished sequences, over 5 minutes.", "none",
            f"fantasia:tokens:rate5m{{{_RECORDED_MODEL}}}", "{{model}}",
        ),
        Graph(
            "Finished requests", "Requests a second, by method and code.", "reqps",
            ((_rate("fantasia_requests_finished_total", "method, code", _JOB), "{{method}} {{code}}"),),
        ),
        Graph(
            "Failed requests",
            "Share of requests that the server should have answered, and the share that the objective allows.",
            "percentunit",
            (
                (f"fantasia:requests_failed:ratio_rate5m{{{_RECORDED}}}", "{{job}}, 5 min"),
                (f"fantasia:requests_failed:ratio_rate1h{{{_RECORDED}}}", "{{job}}, 1 h"),
                ("fantasia:error_budget:ratio", "objective"),
            ),
        ),
        Graph(
            "Duration of requests", "From arrival to response, by method.", "s",
            _half_and_99("fantasia_request_duration_seconds", "method", _JOB),
        ),
    ),
    "Latency": (
        Graph(
            "First note", "From the arrival of a StreamGenerate call to its first message with a note.", "s",
            _half_and_99("fantasia_first_note_duration_seconds"),
        ),
        Graph(
            "First token", "From the submission of a sequence to its first sampled token, the queue included.", "s",
            _half_and_99("fantasia_first_token_duration_seconds"),
        ),
        Graph(
            "Time in the queue", "Until a sequence gets its slots.", "s",
            _half_and_99("fantasia_queue_duration_seconds"),
        ),
        Graph(
            "Slow starts", "Share of streams and of sequences that waited for more than a second.", "percentunit",
            (
                (f"fantasia:first_note_over_1s:ratio_rate5m{{{_RECORDED_MODEL}}}", "{{model}}, first note"),
                (f"fantasia:first_token_over_1s:ratio_rate5m{{{_RECORDED_MODEL}}}", "{{model}}, first token"),
            ),
        ),
        Graph(
            "Duration of pieces", "From the submission of a sequence to its last token.", "s",
            _half_and_99("fantasia_sequence_duration_seconds"),
        ),
        Graph(
            "Cancellation", "From the cancellation of a running sequence until its slot is free.", "s",
            _half_and_99("fantasia_cancellation_duration_seconds"),
        ),
    ),
    "Queue and slots": (
        Graph(
            "Queue", "Sequences that wait for a slot, and how many may.", "none",
            (
                (f"sum by (model) (fantasia_queue_length{{{_MODEL}}})", "{{model}}"),
                (f"sum by (model) (fantasia_queue_limit{{{_MODEL}}})", "{{model}}, limit"),
            ),
        ),
        Graph(
            "Slots", "Share of the slots that are taken, by replica.", "percentunit",
            ((f"fantasia:slots_used:ratio{{{_MODEL}}}", "{{instance}} {{model}}"),),
        ),
        Graph(
            "Refused by the full queue", "Sequences a second.", "reqps",
            ((_rate("fantasia_sequences_refused_total", "model"), "{{model}}"),),
        ),
        Graph(
            "Submitted pieces", "Sequences a second, by model.", "reqps",
            ((_rate("fantasia_sequences_submitted_total", "model"), "{{model}}"),),
        ),
        Graph(
            "Finished pieces", "Sequences a second, by outcome.", "reqps",
            ((_rate("fantasia_sequences_finished_total", "model, outcome"), "{{model}} {{outcome}}"),),
        ),
        Graph(
            "Written notes and evaluated pieces", "Notes and pieces a second.", "none",
            (
                (_rate("fantasia_notes_total", "model"), "{{model}}, notes"),
                (_rate("fantasia_evaluated_pieces_total", "model"), "{{model}}, evaluated pieces"),
            ),
        ),
    ),
    "Engine": (
        Graph(
            "Tokens", "Tokens of finished sequences, and primer tokens of prefill, a second.", "none",
            (
                (_rate("fantasia_tokens_total", "model"), "{{model}}"),
                (_rate("fantasia_prefill_tokens_total", "model"), "{{model}}, prefill"),
            ),
        ),
        Graph(
            "Batch size", "Mean number of sequences that one chunk advances.", "none",
            (
                (
                    f"{_rate('fantasia_batch_size_sum', 'model')} / {_rate('fantasia_batch_size_count', 'model')}",
                    "{{model}}",
                ),
            ),
        ),
        Graph("Step", "One token for every row of the batch.", "s", _half_and_99("fantasia_step_duration_seconds")),
        Graph("Chunk", "One run of the decode graph.", "s", _half_and_99("fantasia_chunk_duration_seconds")),
        Graph(
            "Between chunks", "From the end of a chunk to the end of the next one while sequences are running.", "s",
            _half_and_99("fantasia_chunk_interval_seconds"),
        ),
        Graph(
            "First step", "The first decode step of new sequences outside the main batch, on a CPU.", "s",
            _half_and_99("fantasia_first_step_duration_seconds"),
        ),
        Graph("Prefill", "One slice of a primer.", "s", _half_and_99("fantasia_prefill_duration_seconds")),
    ),
    "Replicas": (
        Table(
            "Models", "The bundles of each replica. The digest must be the same on all of them.",
            f"fantasia_bundle_info{{{_MODEL}}}", ("Time", "Value", "__name__", "job", "namespace"),
        ),
        Table(
            "Execution providers", "What runs each model, and what should.",
            f"fantasia_execution_provider_info{{{_MODEL}}}", ("Time", "Value", "__name__", "job", "namespace"),
        ),
        Graph(
            "CPU", "Cores in use, by replica.", "none",
            ((f"rate(process_cpu_seconds_total{{{_JOB}}}[$__rate_interval])", "{{instance}}"),),
        ),
        Graph(
            "Memory", "Resident memory, by replica.", "bytes",
            ((f"process_resident_memory_bytes{{{_JOB}}}", "{{instance}}"),),
        ),
        Graph("File descriptors", "Open ones, by replica.", "none", ((f"process_open_fds{{{_JOB}}}", "{{instance}}"),)),
        Graph(
            "Age", "Time since the start of the process; a fall is a restart.", "s",
            ((f"time() - process_start_time_seconds{{{_JOB}}}", "{{instance}}"),),
        ),
        Graph(
            "Refused callers", "Calls and scrapes a second, by reason.", "reqps",
            ((_rate("fantasia_access_refusals_total", "reason", _JOB), "{{reason}}"),),
        ),
        Graph(
            "Certificates", "Time until each certificate expires; none without TLS.", "s",
            ((f"fantasia:certificate_left:seconds{{{_JOB}}}", "{{instance}} {{certificate}}"),),
        ),
        Graph(
            "Named callers", "Requests a second of each named caller, by code; none without such callers.", "reqps",
            ((_rate("fantasia_caller_requests_total", "caller, code", _JOB), "{{caller}} {{code}}"),),
        ),
    ),
}  # fmt: skip


def dashboard_json() -> str:
    """The dashboard in Grafana's JSON."""
    builder = (
        dashboard.Dashboard("Fantasia")
        .uid("fantasia")
        .description("Requests, latency, queue, engine and replicas of Fantasia. docs/runbook.md describes the alerts.")
        .tags(["fantasia"])
        .editable()
        .refresh("30s")
        .time("now-1h", "now")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_variable("job", "label_values(fantasia_slots, job)"))
        .with_variable(_variable("instance", 'label_values(fantasia_slots{job=~"$job"}, instance)'))
        .with_variable(_variable("model", 'label_values(fantasia_slots{job=~"$job"}, model)'))
    )
    ids = count(1)
    for title, panels in _ROWS.items():
        builder = builder.with_row(dashboard.Row(title).id(next(ids)))
        for panel in panels:
            builder = builder.with_panel(_panel(panel).id(next(ids)))
    return JSONEncoder(sort_keys=True, indent=2).encode(builder.build()) + "\n"


def _variable(name: str, query: str) -> dashboard.QueryVariable:
    """A choice of several values of a label; all by default."""
    everything = VariableOption(selected=True, text="All", value="$__all")
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .query(query)
        .datasource(_DATASOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .current(everything)
    )


def _panel(panel: Panel) -> timeseries.Panel | stat.Panel | table.Panel:
    if isinstance(panel, Graph):
        return _graph(panel)
    builder: stat.Panel | table.Panel
    if isinstance(panel, Number):
        builder = (
            stat.Panel()
            .unit(panel.unit)
            .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
            .with_target(_target(panel.query, panel.legend, "A").instant())
        )
    else:
        hide = {"excludeByName": dict.fromkeys(panel.hidden, True)}
        builder = (
            table.Panel()
            .with_target(_target(panel.query, "", "A").instant().format(PromQueryFormat.TABLE))
            .with_transformation(DataTransformerConfig(id_val="organize", options=hide))
        )
    return (
        builder.title(panel.title)
        .description(panel.text)
        .datasource(_DATASOURCE)
        .span(panel.columns)
        .height(_HEIGHT if isinstance(panel, Table) else _HEIGHT // 2)
    )


def _graph(panel: Graph) -> timeseries.Panel:
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
    builder = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.text)
        .unit(panel.unit)
        .datasource(_DATASOURCE)
        .span(panel.columns)
        .height(_HEIGHT)
        .legend(legend)
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    for ref, (query, names) in zip("ABCDEF", panel.queries, strict=False):
        builder = builder.with_target(_target(query, names, ref))
    return builder


def _target(query: str, legend: str, ref: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().datasource(_DATASOURCE).expr(query).legend_format(legend).ref_id(ref)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(dashboard_json(), encoding="utf-8")
