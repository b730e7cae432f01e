"""The card of a trained model, read from its artifact and from those it was made from: nothing is written by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from burnish.pipeline.progress import duration
from burnish.pipeline.store import Artifact, Store
from burnish.report.collect import StageFiles, cost_table, load, recipe_tree, stage_settings

BUNDLED = ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")
_HUB = re.compile(r"([\w.-]+/[\w.-]+)@([\w./-]+)")
_LICENCE = re.compile(r"""^license:\s*["']?([^"'\n#]+?)["']?\s*$""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Lineage:
    """A model and what it was made from, oldest first and itself last.

    evaluations: finished evaluations of this very model. lost: inputs that are no longer in the store.
    """

    stages: tuple[StageFiles, ...]
    evaluations: tuple[StageFiles, ...]
    lost: tuple[str, ...]

    @property
    def model(self) -> StageFiles:
        """The model itself."""
        return self.stages[-1]

    @property
    def trained(self) -> list[StageFiles]:
        """The stages that trained weights."""
        return [stage for stage in self.stages if stage.metrics]

    @property
    def sources(self) -> list[dict[str, Any]]:
        """What the datasets' cards say of each source, once a source and dataset: source, licence, revision, url, rows, used in."""
        found = []
        for stage in self.stages:
            for record in (stage.card or {}).get("by_source", []):
                if record["rows_kept"]:
                    found.append({**record, "dataset": stage.name})
        return found

    @property
    def licences(self) -> dict[str, int]:
        """The rows of each licence among the sources; "" where none was given."""
        found: dict[str, int] = {}
        for record in self.sources:
            found[record["licence"]] = found.get(record["licence"], 0) + int(record["rows_kept"])
        return found


@dataclass(frozen=True, slots=True)
class Base:
    """The model everything started from. hub: its id on the Hugging Face hub, or ""; licence: "" where nothing says it."""

    name: str
    hub: str
    licence: str


def lineage(store: Store, artifact: Artifact) -> Lineage:
    """The artifact with all it was made from, as far as the store still has it."""
    done: dict[str, StageFiles] = {}
    lost: dict[str, None] = {}

    def visit(one: Artifact) -> None:
        for folder in one.input_folders().values():
            if folder.name in done or folder.name in lost:
                continue
            if (folder / "artifact.json").exists():
                visit(Artifact.open(folder))
            else:
                lost[folder.name] = None
        done[one.folder.name] = load(one.folder)

    visit(artifact)
    evaluations = [
        load(other.folder)
        for other in reversed(store.artifacts())
        if (other.folder / "scores.json").exists() and artifact.fingerprint in other.inputs.values()
    ]
    return Lineage(tuple(done.values()), tuple(evaluations), tuple(lost))


def base_of(found: Lineage) -> Base:
    """The model that the lineage starts from."""
    for stage in found.stages:
        encoded = stage.record["stage"]
        if not encoded["class"].endswith(":BaseModel"):
            continue
        name = str(encoded["fields"]["model"])
        if name == "bundled":
            return Base(*BUNDLED[:1], *BUNDLED)
        hub = _HUB.fullmatch(name)
        return Base(name, hub[1] if hub else "", _licence_in(stage))
    return Base("", "", "")


def _licence_in(stage: StageFiles) -> str:
    """The licence in the front matter of the base model's own card, or ""."""
    card = stage.folder / "model" / "README.md"
    if not card.exists():
        return ""
    text = card.read_text(encoding="utf-8", errors="replace")
    front = text.split("\n---", 1)[0] if text.startswith("---") else ""
    match = _LICENCE.search(front)
    return match[1].strip() if match else ""


def header(found: Lineage, licence: str) -> dict[str, Any]:
    """The front matter that the hub understands (https://huggingface.co/docs/hub/model-cards)."""
    base = base_of(found)
    values: dict[str, Any] = {
        "license": licence,
        **({"license_name": "see-card"} if licence == "other" else {}),
        "base_model": [base.hub] if base.hub else [],
        "library_name": "transformers",
        "pipeline_tag": "text-classification" if found.model.name == "reward" else "text-generation",
        "datasets": list(dict.fromkeys(record["source"] for record in found.sources if _on_hub(record))),
        "tags": ["burnish", "post-training", *dict.fromkeys(stage.name for stage in found.trained)],
    }
    return {name: value for name, value in values.items() if value not in ([], "")}


def _on_hub(record: Mapping[str, Any]) -> bool:
    return "huggingface.co/" in record["url"] and re.fullmatch(r"[\w.-]+/[\w.-]+", record["source"]) is not None


def body(found: Lineage, *, title: str, licence: str, conditions: Mapping[str, str], checks: Mapping[str, str]) -> str:
    """The card as Markdown, without front matter.

    conditions: what the licences of the data ask for together, with the licences and rows that ask for it.
    checks: what was found when the exported folder was loaded.
    """
    sections = [f"# {title}", _summary(found), "## Use", _use(found, title)]
    if found.evaluations:
        sections += ["## Scores", _scores(found)]
    sections += ["## Training", _training(found), "## Data", _data(found)]
    sections += ["## Licences", _licences(found, licence, conditions)]
    if checks:
        sections += ["## Checked", "\n".join(f"- {name}: {said}" for name, said in checks.items())]
    return "\n\n".join(sections) + "\n"


def _summary(found: Lineage) -> str:
    base, made = base_of(found), found.model.record["provenance"]
    steps = ", then ".join(stage.name for stage in found.trained) or "no training"
    versions = ", ".join(
        f"{name} {made[name]}" for name in ("burnish", "torch", "transformers", "python") if name in made
    )
    lines = [
        f"{base.name or 'A model'} after {steps}. Artifact `{found.model.folder.name}`, finished "
        f"{str(made.get('finished_utc', ''))[:10]}, made with {versions}. Everything below was read from the files of the run."
    ]
    if found.lost:
        lines.append(f"No longer in the store, and so not described: {', '.join(found.lost)}.")
    return "\n\n".join(lines)


def _use(found: Lineage, title: str) -> str:
    if found.model.name == "reward":
        return (
            "A reward model: `AutoModelForSequenceClassification` gives one number for a conversation written with the "
            "tokenizer's chat template; higher is better."
        )
    return f"""```python
from transformers import pipeline

chat = pipeline("text-generation", model="{title}")
print(chat([{{"role": "user", "content": "…"}}], max_new_tokens=256)[0]["generated_text"][-1]["content"])
```

The chat template is in the folder, and `generation_config.json` names the tokens that end a reply."""


def _scores(found: Lineage) -> str:
    rows = ["| task | metric | score | 95 % interval | problems |", "|---|---|---|---|---|"]
    for evaluation in found.evaluations:
        assert evaluation.scores is not None
        for task in evaluation.scores["tasks"]:
            interval = task.get("interval")
            shown = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
            score = "none graded" if task["score"] is None else f"{task['score']:.3f}"
            rows.append(f"| {_cell(task['task'])} | {_cell(task['metric'])} | {score} | {shown} | {task['n']:,} |")
    return "\n".join(rows)


def _training(found: Lineage) -> str:
    costs = {row["fingerprint"]: row for row in cost_table(list(found.stages))}
    rows = ["| stage | optimizer steps | tokens | time | peak memory | machine |", "|---|---|---|---|---|---|"]
    for stage in found.trained:
        cost, machine = costs[stage.fingerprint], stage.record["provenance"].get("machine", {})
        where = f"{machine.get('name', '')}, {machine.get('device', '')}, {machine.get('compute', '')}"
        rows.append(
            f"| {stage.name} | {len(stage.metrics):,} | {cost['tokens']:,} | {cost['time']} | {cost['peak_gib']:.1f} GiB | {where} |"
        )
    total = duration(sum(row["seconds"] for row in costs.values()))
    names = {next(iter(recipe_tree(stage.record["stage"]))) for stage in found.stages}
    settings = [
        f"<details><summary>Settings of {stage.name}</summary>\n\n```json\n{stage_settings(stage, names)}\n```\n\n</details>"
        for stage in found.trained
    ]
    return "\n\n".join(
        ["\n".join(rows), f"All stages together, data and sampling included: {total} of wall time.", *settings]
    )


def _data(found: Lineage) -> str:
    if not found.sources:
        return "No dataset card is in the store."
    rows = ["| dataset | source | licence | revision | rows used |", "|---|---|---|---|---|"]
    for record in found.sources:
        name = f"[{_cell(record['source'])}]({record['url']})" if record["url"] else _cell(record["source"])
        rows.append(
            f"| {record['dataset']} | {name} | {_cell(record['licence'] or 'none given')} | {_cell(str(record['revision'])[:12])} "
            f"| {record['rows_kept']:,} |"
        )
    return "\n".join([*rows, *_overlaps(found)])


def _overlaps(found: Lineage) -> Iterator[str]:
    """What decontamination found, where it looked."""
    looked = [record for stage in found.stages for record in (stage.card or {}).get("contamination", [])]
    if looked:
        removed = sum(int(record["rows_removed"]) for record in looked)
        tests = sorted({record["test"] for record in looked})
        yield f"\nCompared with {len(tests)} tests ({', '.join(tests[:8])}{' …' if len(tests) > 8 else ''}); {removed:,} rows removed for it."


def _licences(found: Lineage, licence: str, conditions: Mapping[str, str]) -> str:
    base = base_of(found)
    lines = [f"- base model: {base.licence or 'not known; look at the publisher'}", f"- this card says: {licence}"]
    lines += [f"- the data ask for: {means} ({who})" for means, who in conditions.items()]
    return "\n".join(lines) + "\n\nA list of what the licence texts say, not legal advice."


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
