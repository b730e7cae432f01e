"""Win rates: plain ones as published, length-controlled ones near the published, and the estimator on planted parameters."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from burnish.cli.main import main
from burnish.core.files import read_jsonl
from burnish.errors import DataError
from burnish.eval import winrate
from burnish.eval.annotations import read, read_difficulty, read_gamed
from burnish.eval.winrate import Annotations, Fit, Gamed, between, controlled, joint, plain

FOLDER = "alpaca_eval_preferences"


def model(wins: list[float], shorter: list[float] | None = None, name: str = "m") -> Annotations:
    return Annotations(name, np.arange(len(wins)), np.array(wins), np.array(shorter or [0.0] * len(wins)))


def test_plain_win_rate_by_hand() -> None:
    """Preferences 2, 1, 1.5 and none: (1 + 0 + 0.5) / 3 = 50 %; the deviation of 1, 0, 0.5 is 0.5, over √3: 28.87 %.

    One won, one lost, one drawn: (1 + 1/2) / 3 = 50 %.
    """
    found = plain(model([1.0, 0.0, 0.5, math.nan]))
    assert found["win_rate"] == 50.0
    assert found["standard_error"] == pytest.approx(50 / math.sqrt(3))
    assert (found["n"], found["ungraded"], found["n_wins"], found["n_wins_base"], found["n_draws"]) == (3, 1, 1, 1, 1)
    assert found["discrete_win_rate"] == 50.0
    with pytest.raises(DataError, match="none of 1 replies has a preference"):
        plain(model([math.nan]))


def test_plain_win_rates_are_the_published_ones(data_dir: Path) -> None:
    """Win rate and standard error of 31 models to 1e-6 of a per cent, and their counts."""
    models = {each.model: plain(each) for each in read([data_dir / FOLDER / "preferences.jsonl.gz"])}
    published = [row for _, row in read_jsonl(data_dir / FOLDER / "published_win_rates.jsonl")]
    assert len(published) == len(models) == 31
    for row in published:
        ours = models[row["model"]]
        for name in ("win_rate", "standard_error", "discrete_win_rate"):
            assert ours[name] == pytest.approx(float(row[name]), abs=1e-6), row["model"]
        for name in ("n_wins", "n_wins_base", "n_draws"):
            assert ours[name] == int(row[name]), row["model"]


def test_texts_and_lengths_are_the_same_annotations(data_dir: Path) -> None:
    (texts,) = read([data_dir / FOLDER / "annotations_alpaca-7b.jsonl.gz"])
    lengths = {each.model: each for each in read([data_dir / FOLDER / "preferences.jsonl.gz"])}["alpaca-7b"]
    assert np.array_equal(texts.shorter, lengths.shorter)
    assert np.allclose(texts.wins, lengths.wins, atol=1e-9)


@pytest.mark.slow
def test_joint_fit_is_within_a_point_of_the_published_rates(data_dir: Path) -> None:
    models = read([data_dir / FOLDER / "preferences.jsonl.gz"])
    published = {
        row["model"]: float(row["length_controlled_winrate"])
        for _, row in read_jsonl(data_dir / FOLDER / "published_win_rates.jsonl")
    }
    fits = joint(models)
    assert fits["gpt4_1106_preview"].win_rate == 50.0
    apart = [abs(fits[name].win_rate - published[name]) for name in published]
    assert np.mean(apart) < 1.0
    half = [each for number, each in enumerate(sorted(models, key=lambda m: m.model)) if number % 2]
    fits = joint(half)
    assert np.mean([abs(fits[each.model].win_rate - published[each.model]) for each in half]) < 1.5


def planted(theta: float, phi: float, psi: float, seed: int, count: int = 3000) -> tuple[Annotations, np.ndarray]:
    rng = np.random.default_rng(seed)
    shorter, gamma = rng.normal(0, 500, count), rng.normal(0, 1, count)
    chance = 1 / (1 + np.exp(-(theta + phi * np.tanh(shorter / shorter.std(ddof=1)) + psi * gamma)))
    return Annotations("m", np.arange(count), chance, shorter), gamma


def test_the_published_estimator_finds_planted_parameters() -> None:
    """Shares without noise, so that the regression must find θ, φ and ψ but for its small L1; the win rate at equal lengths
    is the mean of σ(θ + ψγ). Gamed rows that agree with φ and ψ change nothing.
    """
    made, gamma = planted(0.4, -1.5, 0.8, 0)
    also, other = planted(0.0, -1.5, 0.8, 1)
    fit = controlled(made, gamma, Gamed(also.wins, also.feature, other))
    assert (fit.theta, fit.phi, fit.psi) == pytest.approx((0.4, -1.5, 0.8), abs=0.02)
    assert fit.win_rate == pytest.approx(100 * np.mean(1 / (1 + np.exp(-(0.4 + 0.8 * gamma)))), abs=0.2)


def test_gamed_rows_pin_the_effect_of_length() -> None:
    """The model's rows alone say φ = -3; gamed rows without any effect of length pull it towards 0."""
    made, gamma = planted(0.4, -3.0, 0.8, 0, 400)
    also, other = planted(0.0, 0.0, 0.8, 1, 8000)
    fit = controlled(made, gamma, Gamed(also.wins, also.feature, other))
    assert -2.5 < fit.phi < -0.5


def test_ungraded_rows_count_in_the_mean_but_not_in_the_fit() -> None:
    made, gamma = planted(0.4, -1.5, 0.8, 0)
    gaps = made.wins.copy()
    gaps[::10] = np.nan
    also, other = planted(0.0, -1.5, 0.8, 1)
    fit = controlled(Annotations("m", made.place, gaps, made.shorter), gamma, Gamed(also.wins, also.feature, other))
    assert len(fit.at_equal_length) == len(gamma)
    assert fit.theta == pytest.approx(0.4, abs=0.03)


def test_the_gradient_of_the_joint_loss() -> None:
    rng = np.random.default_rng(0)
    models = [model(rng.random(6).tolist(), rng.normal(0, 9, 6).tolist(), name) for name in "abc"]
    problem = winrate._Joint.of(models)
    at = rng.normal(0, 1, len(problem.start()))
    _, gradient = problem.loss(at)
    for number in range(len(at)):
        step = np.zeros(len(at))
        step[number] = 1e-6
        slope = (problem.loss(at + step)[0] - problem.loss(at - step)[0]) / 2e-6
        assert gradient[number] == pytest.approx(slope, abs=1e-5)


def test_two_models_by_differences() -> None:
    """Equal parameters: 50 %. θ of ln 3 more and equal ψ: σ(ln 3) = 3/4."""
    a, b = (Fit(theta, -1.0, 0.5, np.zeros(1)) for theta in (math.log(3), 0.0))
    gamma = np.array([-2.0, 0.0, 1.0])
    assert between(b, b, gamma) == 50.0
    assert between(a, b, gamma) == pytest.approx(75.0)


def test_the_baseline_against_itself_is_half() -> None:
    itself = model([0.5] * 4)
    assert itself.is_baseline
    assert joint([itself])["m"].win_rate == 50.0


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(**changes: object) -> dict[str, object]:
    return {"model": "m", "index": 0, "preference": 1.25, "len_1": 10, "len_2": 4, **changes}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([row(preference=3)], "field preference: expected a number from 1"),
        ([{"model": "m", "prefrence": 1}], "Did you mean 'prefrence'"),
        ([row(len_1=None)], "neither len_1"),
        ([row(), row()], "two rows for instruction 0"),
        ([row(model=None)], "no model's name"),
        ([row(index="x")], "field index"),
    ],
)
def test_wrong_rows_are_named(
    tmp_path: Path, rows: list[dict[str, object]], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["winrate", str(write(tmp_path / "a.jsonl", rows))]) == 2
    assert says in capsys.readouterr().err


def test_the_authors_files(tmp_path: Path) -> None:
    gamed = tmp_path / "df_gamed.csv"
    gamed.write_text(
        "model,index,preference,std_delta_len,instruction_difficulty,not_gamed_baseline\n"
        "v,0,0.75,-1.5,0.25,False\nv,1,0.5,0,-2,False\nc,0,0.25,1.5,0.25,False\n"
    )
    assert read_gamed(gamed).wins.tolist() == [0.75, 0.5, 0.25]
    assert read_gamed(gamed).feature[0] == pytest.approx(math.tanh(-1.5))
    assert read_difficulty(gamed).tolist() == [0.25, -2.0]
    alone = tmp_path / "instruction_difficulty.csv"
    alone.write_text(",instruction_difficulty\n0,0.5\n2,1.5\n")
    assert read_difficulty(alone)[[0, 2]].tolist() == [0.5, 1.5]
    assert math.isnan(read_difficulty(alone)[1])
    with pytest.raises(DataError, match="no column 'index'"):
        read_gamed(alone)
    with pytest.raises(DataError, match="instruction 1 has no difficulty"):
        controlled(model([1.0, 0.0, 1.0], [1.0, 2.0, 3.0]), read_difficulty(alone), read_gamed(gamed))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(index=i, preference=[1.0, 2.0, 1.5][i % 3], len_2=i * 7 % 50) for i in range(30)]
    path = write(tmp_path / "a.jsonl", rows)
    assert main(["winrate", str(path), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["win_rate"], found["n"], found["models_in_fit"]) == (50.0, 30, 1)
    assert main(["winrate", str(path)]) == 0
    assert "a joint fit of 1 model in" in capsys.readouterr().out
    assert main(["winrate", str(path), "--difficulty", str(path)]) == 2
    assert "--gamed" in capsys.readouterr().err
