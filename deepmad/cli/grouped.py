"""Help that tells a command's options in groups."""

from typing import Any

from typer.core import TyperCommand

GROUPS: dict[str, tuple[str, ...]] = {
    "Limits": (
        "macs", "params", "rho", "latency", "throughput", "memory", "activations", "limits", "limit_seconds",
    ),
    "The device that runs the network": (
        "table", "backend", "precision", "batch", "threads", "measure", "rounds", "force",
    ),
    "What is designed": ("objective", "alpha", "beta", "classes", "resolution", "multiple"),
    "The solve": ("solver", "gap", "time_limit", "deterministic_limit", "workers", "on", "seed"),
    "Evolution and fronts": ("front", "bounds", "generations", "population", "islands", "checkpoint"),
    "Beside the best network": ("top", "explain"),
    "Output": ("output", "json", "help"),
}  # fmt: skip
"""The options of `deepmad design`, by their names in Python."""


class Grouped(TyperCommand):
    """A command whose help has a section for every group of options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options, group by group."""
        records = {param.name: (param, param.get_help_record(ctx)) for param in self.get_params(ctx)}
        with formatter.section("Arguments"):
            formatter.write_dl(
                [record for param, record in records.values() if record and param.param_type_name == "argument"]
            )
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([record for name in names if (record := records[name][1]) is not None])
