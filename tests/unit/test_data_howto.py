"""The code in docs/howto/source.md runs as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from burnish.data.curate import Curate
from burnish.data.source import Source

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "source.md"


def test_the_pages_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.chdir(tmp_path)
    chats = [{"prompt": f"q {i}", "completion": "a"} for i in range(2000)]
    Path("chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    pq.write_table(pa.Table.from_pylist([{"prompt": "q", "chosen": "a", "rejected": "b"}]), "preferences.parquet")
    Path("sums.jsonl.gz").write_bytes(gzip.compress(b'{"question": "1 + 1?", "target": 2}\n'))
    names: dict[str, Any] = {"__name__": "howto_source"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec", dont_inherit=True), names)
    data = names["data"]
    assert isinstance(data, Curate)
    data.check(None)
    assert data.headline() == {"support-chats": "all", "products": 50}
    assert [len(list(names[name].rows(None))) for name in ("demos", "pairs", "problems")] == [2000, 1, 1]
    products = names["Products"]()
    assert isinstance(products, Source)
    assert len({row.id for row in products.rows(None)}) > 90
