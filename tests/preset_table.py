"""The rows of the table in docs/presets.md, read off the presets themselves."""

from deepmad.search_spaces.spaces import load_space, presets
from deepmad.search_spaces.units import human


def preset_row(name: str) -> str:
    """Return a preset's row of the table."""
    space = load_space(name)
    limits = space.limits
    blocks = ", ".join(dict.fromkeys(f"`{kind}`" for stage in space.stages for kind in stage.block))
    cells = (
        f"`{name}`",
        f"{space.resolution} px",
        f"{len(space.stages)}: {' '.join(str(stage.stride) for stage in space.stages)}",
        blocks,
        f"{max(max(stage.out) for stage in space.stages):,}",
        human(limits.macs or 0, "count"),
        human(limits.params or 0, "count"),
        f"{limits.rho:g}",
        f"{space.size():.0e}",
    )
    return f"| {' | '.join(cells)} |"


def preset_rows() -> list[str]:
    """Return the rows of all presets, by name."""
    return [preset_row(name) for name in presets()]
