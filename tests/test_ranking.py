"""The ranking of networks by scores: its readers on made-up files, its statistics against scipy or by hand."""

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from scipy.stats import spearmanr

from benchmarks.conditions import RESULTS, read_csv
from benchmarks.ranking import __main__ as ranking
from benchmarks.ranking import statistics
from benchmarks.ranking.archai_face import ARCHAI_FACE, rounded
from benchmarks.ranking.nas_bench_macro import NAS_BENCH_MACRO, parts_of
from benchmarks.ranking.networks import DataSet, Trained, check_counts, counts
from benchmarks.ranking.picture import plot
from benchmarks.ranking.pycls_zoo import PYCLS_ZOO
from benchmarks.ranking.scores import scores_of
from benchmarks.ranking.table import markdown_table
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Part
from tests.catalogue import ROOT

EMPTY_MACRO = 32**2 * 27 * 32 + 16**2 * 32 * 64 + 8**2 * 64 * 128 + 4**2 * (128 * 256 + 256 * 1280) + 1280 * 10
"""MACs of the network of nothing but stem, three 1x1 convolutions, the last 1x1 and the classifier."""


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(itertools.chain(*rows))))
        writer.writeheader()
        writer.writerows(rows)


def write_macro(folder: Path, macs: int = EMPTY_MACRO) -> None:
    params = counts(parts_of("00000000"))["params"]
    entry = {"test_acc": [80.0, 82.0], "mean_acc": 81.0, "std": 1.0, "params": params, "flops": macs}
    folder.mkdir(parents=True)
    (folder / "nas-bench-macro_cifar10.json").write_text(json.dumps({"00000000": entry}), encoding="utf-8")


def test_nas_bench_macro(tmp_path: Path) -> None:
    write_macro(tmp_path / "of")
    (network,) = NAS_BENCH_MACRO.read(tmp_path / "of")
    assert (network.accuracy, network.trainings) == (81.0, (80.0, 82.0))
    assert check_counts([network]) == 2
    figures = scores_of(network)
    assert figures["MACs"] == EMPTY_MACRO
    assert figures["layers"] == 5
    assert figures["activations"] == 32**2 * 32 + 16**2 * 64 + 8**2 * 128 + 4**2 * (256 + 1280)
    widths = np.log([27, 32, 64, 128, 256])
    ends = [(1, 32, 32), (2, 64, 16), (3, 128, 8), (5, 1280, 4)]
    alike = sum(np.log(side**2 * channels) * widths[:layers].sum() for layers, channels, side in ends)
    assert figures["-rho"] == pytest.approx(-max(layers / np.exp(widths[:layers].mean()) for layers, _, _ in ends))
    assert figures["entropy, scales alike"] == pytest.approx(alike)


def test_a_network_taken_for_another_is_refused(tmp_path: Path) -> None:
    write_macro(tmp_path / "of", EMPTY_MACRO + 1)
    with pytest.raises(InputError, match=f"00000000: macs is {EMPTY_MACRO:,} by the layer records"):
        check_counts(NAS_BENCH_MACRO.read(tmp_path / "of"))


def test_pycls_zoo(tmp_path: Path) -> None:
    """ResNet-50's counts are those that torchvision tells; the RegNet's widths are worked out by hand."""
    common = {"im_size": 224, "top1_err": 23.5}
    resnet = common | {
        "model": "R", "type": "anynet", "anynet.stem_w": 64.0, "anynet.depths": "[3, 4, 6, 3]",
        "anynet.widths": "[256, 512, 1024, 2048]", "anynet.bot_muls": "[0.25, 0.25, 0.25, 0.25]",
        "anynet.group_ws": "[64, 128, 256, 512]", "anynet.strides": "[1, 2, 2, 2]",
        "flops": 4_089_184_256 + 1000, "params": 25_557_032, "acts": 11_114_984 + 64 * 56**2,
    }  # fmt: skip
    regnet = common | {
        "model": "X", "type": "regnet", "regnet.depth": 4.0, "regnet.w0": 24.0, "regnet.wa": 24.0, "regnet.wm": 2.0,
        "regnet.group_w": 8.0, "regnet.se_on": "True", "flops": 0, "params": 0, "acts": 0,
    }  # fmt: skip
    efficientnet = common | {
        "model": "E", "type": "effnet", "im_size": 60, "en.stem_w": 32.0, "en.depths": "[1, 2]",
        "en.widths": "[16, 24]",
        "en.exp_ratios": "[1, 6]", "en.kernels": "[3, 5]", "en.strides": "[1, 2]", "en.head_w": 64.0,
        "flops": 0, "params": 0, "acts": 0,
    }  # fmt: skip
    write_rows(tmp_path / "pycls_dds_baselines.csv", [resnet, regnet, efficientnet])
    found = {network.name: network for network in PYCLS_ZOO.read(tmp_path)}
    assert check_counts([found["R"]]) == 3
    assert found["R"].accuracy == 76.5
    assert (found["R"].residual, found["E"].residual) == (True, False)
    # 24 48 72 96 lie at 0, 1, log2 3 and 2 doublings of 24: rounded 0 1 2 2, so widths 24, 48 and twice 96
    outs = [(part.body.main[-1].outputs, part.repeats) for part in found["X"].parts if part.stage is not None]
    assert outs == [(24, 1), (24, 0), (48, 1), (48, 0), (96, 1), (96, 1)]
    assert [layer.fan_in for layer in found["X"].parts[1].body.main] == [32, 8 * 9, 24]
    assert [layer.outputs for layer in found["X"].parts[1].body.layers if layer.role == "gate"][1:] == [8, 24]
    assert [layer.out_side for layer in found["E"].parts[3].body.main] == [30, 15, 15]
    assert len(found["E"].parts[1].body.main) == 2  # no 1x1 where the expansion is 1


def test_archai_face(tmp_path: Path) -> None:
    """With its multipliers at 1 the network is MobileNetV2, whose features have 2,223,872 parameters."""
    stages = ["ds_r1_k3_s1_c16", "ir_r2_k3_s2_e6_c24", "ir_r3_k3_s2_e6_c32", "ir_r4_k3_s2_e6_c64",
              "ir_r3_k3_s1_e6_c96", "ir_r3_k3_s2_e6_c160", "ir_r1_k3_s1_e6_c320"]  # fmt: skip
    config = {"arch_def": [[stage] for stage in stages], "channel_multiplier": 1.0, "depth_multiplier": 1.0}
    half = config | {"depth_multiplier": 0.5}
    write_rows(
        tmp_path / "search_results.csv",
        [
            {"archid": "a", "Partial_training_Validation_Error": 0.04, "config": json.dumps(one)}
            for one in (config, half)
        ],
    )
    whole, short = ARCHAI_FACE.read(tmp_path)
    assert whole.accuracy == pytest.approx(-4)
    assert counts(whole.parts)["params"] == 2_223_872 + 1281 * 140
    assert (scores_of(whole)["layers"], scores_of(short)["layers"]) == (1 + 2 + 16 * 3 + 1, 1 + 2 + 10 * 3 + 1)
    assert [rounded(channels) for channels in (8, 12, 17, 18, 19, 20)] == [8, 16, 16, 24, 24, 24]


def test_timm_results(tmp_path: Path) -> None:
    from benchmarks.ranking.timm_results import TIMM_RESULTS

    rows = [("resnet18.a1_in1k", 288, 73.2), ("resnet18.a1_in1k", 224, 71.5), ("resnet18.tv_in1k", 224, 69.8),
            ("resnet18.fb_swsl_ig1b_ft_in1k", 224, 73.3), ("vit_tiny.x_in1k", 224, 75.0)]  # fmt: skip
    results = [{"model": name, "img_size": side, "top1": top1, "param_count": "11.69"} for name, side, top1 in rows]
    write_rows(tmp_path / "results-imagenet.csv", results)
    macs = [{"model": "resnet18", "infer_img_size": 224, "infer_gmacs": value} for value in ("", "1.82")]
    write_rows(tmp_path / "benchmark-infer-x.csv", macs)
    (network,) = TIMM_RESULTS.read(tmp_path)
    assert (network.name, network.accuracy) == ("resnet18.a1_in1k at 224", 71.5)
    assert check_counts([network]) == 2
    found = counts(network.parts)
    assert (found["macs"], found["params"]) == (1_814_073_344, 11_689_512)
    assert scores_of(network)["layers"] == 17
    assert sum(part.ends_scale for part in network.parts) == 4


def test_correlations_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    accuracy, macs = rng.normal(size=60).round(1), rng.integers(1, 20, 60).astype(float)
    scores = np.stack([accuracy + rng.normal(size=60), rng.integers(0, 4, 60), np.ones(60)], axis=1)
    expected = [spearmanr(column, accuracy)[0] for column in scores.T[:2]]
    found = statistics.spearman(scores, accuracy)
    assert found[:2] == pytest.approx(expected)
    assert np.isnan(found[2])
    for column, value in zip(scores.T[:2], statistics.partial_spearman(scores, accuracy, macs), strict=False):
        xy, xz, yz = (spearmanr(*pair)[0] for pair in ((column, accuracy), (column, macs), (accuracy, macs)))
        assert value == pytest.approx((xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2)))
    assert np.isnan(statistics.partial_spearman(macs[:, None], accuracy, macs))


def test_bands_hold_networks_of_about_equal_macs() -> None:
    assert [statistics.band_count(count) for count in (36, 111, 112, 224, 6561)] == [0, 0, 4, 8, 20]
    macs = np.arange(112.0)
    accuracy = np.where(macs < 56, macs, -macs)
    scores = np.stack([macs, np.where(macs < 28, macs, 0.0)], axis=1)
    assert statistics.spearman_at_equal_macs(scores, accuracy, macs) == pytest.approx([(1 + 1 - 1 - 1) / 4, 1])


def test_ndcg_by_hand() -> None:
    accuracy = np.arange(20.0)
    best, worst, alike = accuracy, -accuracy, np.zeros(20)
    discounts = 1 + 1 / np.log2(3)  # of the first two places, a tenth of twenty
    ideal = 1 + (18 / 19) / np.log2(3)
    expected = [1, (0 + (1 / 19) / np.log2(3)) / ideal, 0.5 * discounts / ideal]
    assert statistics.ndcg(np.stack([best, worst, alike], axis=1), accuracy) == pytest.approx(expected)


def test_regret_by_hand() -> None:
    accuracy = np.array([1.0, 5.0, 3.0, 9.0])
    scores = np.stack([-accuracy, accuracy, np.zeros(4)], axis=1)
    within = [np.array([0, 1]), np.array([0, 1, 2, 3])]
    everything, without_best = np.ones(4, dtype=bool), np.array([True, True, True, False])
    found = statistics.regret(scores, accuracy, within, everything, 1, 0)
    assert found[:2] == pytest.approx([(4 + 8) / 2, 0])
    assert found[2] == pytest.approx((2 + 4.5) / 2, abs=1)  # equal scores: a random network, again and again
    assert statistics.regret(scores, accuracy, within, without_best, 2, 0)[:2] == pytest.approx(
        [(0 + 6) / 2, (0 + 4) / 2]
    )


def test_intervals_hold_the_figure_and_come_again_with_the_seed() -> None:
    rng = np.random.default_rng(1)
    accuracy, macs = rng.normal(size=120), rng.normal(size=120)
    scores = np.stack([accuracy, accuracy + 2 * rng.normal(size=120), np.zeros(120)], axis=1)
    (low, high), (equal_low, equal_high) = statistics.bootstrapped(scores, accuracy, macs, 100, 3)
    assert (low[0], high[0], equal_low[0], equal_high[0]) == pytest.approx((1, 1, 1, 1))
    assert low[1] < statistics.spearman(scores, accuracy)[1] < high[1]
    assert np.isnan([low[2], high[2], equal_low[2], equal_high[2]]).all()
    again = statistics.bootstrapped(scores, accuracy, macs, 100, 3)
    assert np.array_equal(again[0][0], low, equal_nan=True)
    assert np.array_equal(again[1][1], equal_high, equal_nan=True)


@pytest.fixture
def small_set() -> DataSet:
    """Return a data set of its own: networks of NAS-Bench-Macro whose accuracy is their number of layers."""

    def read(folder: Path) -> list[Trained]:
        del folder
        keys = ["".join(digits) for digits in itertools.product("01", repeat=6)]
        return [made(key, parts_of(f"{key}00")) for key in keys]

    def made(name: str, parts: tuple[Part, ...]) -> Trained:
        layers = float(sum(part.repeats * len(part.body.main) for part in parts))
        return Trained(name, parts, layers, trainings=(layers, layers))

    return DataSet("small", "made up", "layers", read)


def test_every_score_is_told_for_every_scope(small_set: DataSet, tmp_path: Path) -> None:
    rows = list(ranking.ranked(small_set, small_set.read(tmp_path), resamples=20, seed=0))
    assert {row["scope"] for row in rows} == {"all", "rho <= 0.3"}  # none has a rho above 0.5
    found = {row["score"]: row for row in rows if row["scope"] == "all"}
    assert (found["layers"]["spearman"], found["layers"]["spearman_low"], found["layers"]["regret_top1"]) == (1, 1, 0)
    assert found["layers"]["equal_macs_by"] == "partial correlation"
    assert found["MACs"]["spearman_equal_macs"] == found["random"]["spearman"] == ""
    assert found[ranking.CEILING]["spearman"] == 1
    assert found["random"]["regret_top1"] > found["random"]["regret_top10"] >= 0
    path = plot(rows, tmp_path / "picture.svg")
    assert "at equal MACs" in path.read_text(encoding="utf-8")


def test_what_is_absent_or_does_not_fit_is_skipped_and_told(
    small_set: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[Any] = []
    monkeypatch.setattr(ranking, "write_results", lambda *results: written.append(results))
    monkeypatch.setattr(ranking, "plot", len)
    monkeypatch.setattr(ranking, "DATA_SETS", (NAS_BENCH_MACRO, PYCLS_ZOO, replace(small_set, name="third")))
    write_macro(tmp_path / "nas_bench_macro", EMPTY_MACRO + 1)
    ranking.main(tmp_path, resamples=5)
    told = capsys.readouterr().out
    assert "nas_bench_macro: skipped: 00000000: macs" in told
    assert "pycls_zoo: skipped: [Errno 2] No such file" in told
    _, rows, notes = written[-1]
    assert {row["data_set"] for row in rows} == {"third"}
    assert notes["pycls_zoo"].startswith("skipped")
    with pytest.raises(typer.Exit):
        ranking.main(tmp_path, resamples=5, only=["pycls_zoo"])


def test_a_published_network_of_our_blocks_has_the_main_path_of_timms() -> None:
    from benchmarks.published_structures import GENET_M
    from benchmarks.ranking.timm_results import parts_of as parts_of_timm

    ours, theirs = (
        scores_of(Trained("GENet-M", parts, 0.0)) for parts in (GENET_M.parts(), parts_of_timm("gernet_m", 224))
    )
    for name in set(ours) - {"MACs", "parameters"}:
        assert ours[name] == pytest.approx(theirs[name]), name
    assert 0 < theirs["parameters"] - ours["parameters"] < 0.05 * ours["parameters"]  # 1x1 shortcuts


def test_the_table_in_the_docs_is_that_of_the_results() -> None:
    table = markdown_table(read_csv(RESULTS / "ranking.csv"))
    assert table in (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    assert "| objective paper | 0.75 / 0.41 [" in table
