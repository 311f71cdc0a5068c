"""The pages for people: their content, and the absence of scripts and foreign content."""

import io
import os
import time
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from embedded_hub.launch import page_url
from embedded_hub.web import first_rows, markdown
from tests.support.wire import Wire

pytestmark = pytest.mark.filterwarnings("ignore:Warnings while validating metadata:UserWarning")

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c020000000b4944415478da6364f80f00010501012718e3660000"
    "000049454e44ae426082"
)
HOSTILE = """---
license: "<script>alert(1)</script>"
base_model: "evil/<img src=x onerror=alert(1)>"
datasets: ["javascript:/alert(1)"]
---
# <script>alert(1)</script>
<img src=x onerror="alert(1)"> <iframe src="http://evil.example"></iframe> <style>*{}</style>
[a](javascript:alert(1)) [b](JaVaScRiPt:alert(1)) [c](data:text/html,x) [d](vbscript:x) [e](file:///etc/passwd)
[f](//evil.example) [f2](///evil.example) [g](../../../api/x) [h](/\\evil.example) [i](https://e.org/"onclick="x)
![t](http://evil.example/t.png) ![u](../../x.png) ![v](data:image/svg+xml;base64,AAAA) ![w](/other/repo/x.png)
![x](x.svg "a\\" onload=alert(1)")

| a |
|--:|
| <b onclick=x>1</b> |
"""


class Tags(HTMLParser):
    """All elements of a page with their attributes."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def values(self, tag: str, attribute: str) -> list[str]:
        return [attributes[attribute] for name, attributes in self.found if name == tag and attribute in attributes]


def put(api: HfApi, repo: str, kind: str = "model", **files: str | bytes) -> str:
    edits = [
        CommitOperationAdd(path.replace("__", "/"), text.encode() if isinstance(text, str) else text)
        for path, text in files.items()
    ]
    api.create_repo(repo, repo_type=kind, exist_ok=True, space_sdk="gradio" if kind == "space" else None)
    return str(api.create_commit(repo, edits, commit_message="<b>files</b>", repo_type=kind).oid)


def parquet(count: int) -> bytes:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"n": list(range(count)), "text": [f"<i>row {n}</i>" for n in range(count)]})
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


def test_a_card_is_shown_with_pictures_and_links_into_the_repository(api: HfApi, anonymous: Wire, name: str) -> None:
    card = (
        "---\nbase_model: lab/base\nbase_model_relation: adapter\ndatasets: [lab/rows]\ntags: [permix]\n---\n"
        "# Title\n![A figure](figures/one%20two.png) [run](run.json) [input](/datasets/lab/rows/tree/abc) [in](#use)\n"
    )
    put(api, name, **{"README.md": card, "figures__one two.png": PIXEL, "run.json": "{}"})
    answer = anonymous("GET", f"/{name}")
    page = Tags(answer.body)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.values("img", "src") == [f"/{name}/resolve/main/figures/one%20two.png"]
    assert anonymous("GET", page.values("img", "src")[0]).body == PIXEL
    links = page.values("a", "href")
    assert {f"/{name}/blob/main/run.json", "/datasets/lab/rows/tree/abc", "#use"} <= set(links)
    assert {"/lab/base", "/datasets/lab/rows", f"/{name}/tree/main", f"/{name}/commits/main"} <= set(links)
    assert b"<h1>Title</h1>" in answer.body
    assert b"base_model:" not in answer.body


def test_hostile_markup_stays_text_on_every_page(api: HfApi, anonymous: Wire, name: str) -> None:
    path = "<img src=x onerror=alert(1)>.txt"
    head = put(api, name, **{"README.md": HOSTILE, path: "<script>alert(1)</script>"})
    for address in (
        "/", f"/{name}", f"/{name}/tree/main", f"/{name}/commits/main", f"/{name}/commit/{head}",
        f"/{name}/blob/main/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E.txt", f"/{name}/tree/%3Cscript%3E",
    ):  # fmt: skip
        answer = anonymous("GET", address)
        page = Tags(answer.body)
        assert not {"script", "iframe", "b", "object"} & {tag for tag, _ in page.found}, address
        for tag, attributes in page.found:
            active = [attribute for attribute in attributes if attribute.startswith("on") or attribute == "style"]
            assert not active, (address, tag)
            for target in (attributes.get("href", ""), attributes.get("src", "")):
                safe = target.startswith(("/", "#", "https://", "?", "data:,")) or not target
                assert safe, target
                assert not target.startswith(("//", "/\\")), target
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "script-src" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert Tags(anonymous("GET", f"/{name}").body).values("img", "src") == [f"/{name}/resolve/main/x.svg"]


def test_the_first_rows_of_every_split_are_shown(api: HfApi, anonymous: Wire, name: str) -> None:
    card = (
        "---\nconfigs:\n- config_name: big\n  data_files:\n  - {split: train, path: data/train-*}\n"
        "  - {split: test, path: rows.jsonl}\n- config_name: other\n  data_files: table.csv\n---\n"
    )
    files = {"data__train-00000-of-00001.parquet": parquet(1234), "rows.jsonl": '{"a": {"b": 1}}\n{"c": 0.1}\n'}
    put(api, name, "dataset", **files, **{"README.md": card, "table.csv": "x,y\n1,2\n", "run.json": "{}"})
    page = anonymous("GET", f"/datasets/{name}").body.decode()
    for wanted in ("big / train", "big / test", "other / train", "1,234 rows", "&lt;i&gt;row 4&lt;/i&gt;", "0.1"):
        assert wanted in page, wanted
    assert "row 5" not in page
    assert "run.json" not in page
    assert page.count("<details") == 3
    assert page.count("<details open") == 1


@pytest.mark.parametrize("broken", [b"", b"PAR1 nothing PAR1", parquet(3)[:-20]])
def test_unreadable_data_files_are_reported_on_the_page(api: HfApi, anonymous: Wire, name: str, broken: bytes) -> None:
    put(api, name, "dataset", **{"a.parquet": broken, "b.jsonl": "{", "c.parquet": parquet(2)})
    page = anonymous("GET", f"/datasets/{name}").body.decode()
    assert page.count("This file cannot be displayed") == 2
    assert "&lt;i&gt;row 1&lt;/i&gt;" in page


def test_a_data_file_that_takes_too_much_memory_or_time_costs_only_its_reader(tmp_path: Any) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"x": ["a" * (64 << 20)]}), tmp_path / "bomb", compression="zstd")
    (tmp_path / "rows").write_text('{"a": 1}\n')
    wanted = [(tmp_path / "bomb", "parquet"), (tmp_path / "rows", "jsonl")]
    assert len(first_rows.first_rows(wanted)[0]["rows"][0][0]) == first_rows.CELL + 1
    for limits in ({"seconds": 0}, {"memory": 200 << 20}):
        assert "error" in first_rows.first_rows(wanted, **limits)[0]
    os.mkfifo(tmp_path / "endless")
    assert "error" in first_rows.first_rows([(tmp_path / "endless", "jsonl")], seconds=1)[0]


def test_lists_are_searched_and_an_organisation_has_a_page(api: HfApi, anonymous: Wire, wire: Wire, name: str) -> None:
    own = name.replace("lab/", "shop/")
    put(api, own, "dataset", **{"a.txt": "1"})
    api.create_repo(f"{own}-hidden", private=True)
    number = own.rsplit("r", 1)[1]
    for address in ("/", f"/?search=SHOP+{number}", f"/datasets?search={number}", "/shop"):
        body = anonymous("GET", address).body.decode()
        assert f'href="/datasets/{own}"' in body, address
        assert "hidden" not in body.replace('class="hidden"', ""), address
    assert own not in anonymous("GET", "/?search=nothing-of-that-name").body.decode()
    assert own not in anonymous("GET", "/models").body.decode()
    assert f"{own}-hidden" in wire("GET", "/shop").body.decode()  # a client with a token may see it
    assert "a browser does not send a token" in anonymous("GET", "/").body.decode()


def test_private_repositories_are_hidden_on_every_page_as_if_they_were_not_there(
    api: HfApi, anonymous: Wire, wire: Wire, name: str, token_of: Callable[..., str]
) -> None:
    api.create_repo(name, private=True)
    head = put(api, name, **{"a.txt": "1", "README.md": "# Secret"})
    stranger = Wire(wire.port, token_of("stranger", "write"))
    for rest in ("", "/tree/main", f"/tree/{head}", "/blob/main/a.txt", "/commits/main", f"/commit/{head}"):
        assert wire("GET", f"/{name}{rest}").status == 200
        for caller, status in ((anonymous, 401), (stranger, 404)):
            hidden, missing = caller("GET", f"/{name}{rest}"), caller("GET", f"/{name}0{rest}")
            assert hidden.status == missing.status == status
            assert hidden.body.replace(name.encode(), b"") == missing.body.replace(f"{name}0".encode(), b"")
    assert wire("GET", f"/{name}", Host="evil.example").status == 421


def test_files_folders_and_commits_are_browsed_at_any_revision(api: HfApi, anonymous: Wire, name: str) -> None:
    odd = "d #?%__é x.txt"
    first = put(api, name, "space", **{odd: "old text", "w.bin": b"\0" * 3000, "p.png": PIXEL})
    put(api, name, "space", **{odd: "new text"})
    space = f"/spaces/{name}"
    top = Tags(anonymous("GET", f"{space}/tree/{first}").body).values("a", "href")
    folder = f"{space}/tree/{first}/d%20%23%3F%25"
    assert {folder, f"{space}/blob/{first}/w.bin", f"{space}/resolve/{first}/w.bin"} <= set(top)
    (file,) = {address for address in Tags(anonymous("GET", folder).body).values("a", "href") if "/blob/" in address}
    assert b"old text" in anonymous("GET", file).body
    assert b"new text" in anonymous("GET", file.replace(first, "main")).body
    assert b"sha256" in anonymous("GET", f"{space}/blob/main/w.bin").body
    assert f"{space}/resolve/main/p.png" in Tags(anonymous("GET", f"{space}/blob/main/p.png").body).values("img", "src")
    commits = anonymous("GET", f"{space}/commits/main").body.decode()
    assert commits.count("&lt;b&gt;files&lt;/b&gt;") == 2
    assert f"{space}/commit/{first}" in commits
    changed = anonymous("GET", f"{space}/commit/{first}").body.decode()
    assert changed.count("<td>added</td>") == 3
    assert "w.bin" in changed
    assert anonymous("GET", f"{space}/blob/main/none.txt").headers["x-error-code"] == "EntryNotFound"
    assert b"<h1>Not found</h1>" in anonymous("GET", f"{space}/tree/none").body


def test_a_card_without_end_is_cut_and_costs_little(api: HfApi, anonymous: Wire, name: str) -> None:
    for text in ("word " * 200_000, "[" * 1_000_000, "![[" * 300_000, "*a " * 300_000, "> " * 500_000):
        put(api, name, **{"README.md": f"# Long\n\n{text}"})
        begun = time.monotonic()
        answer = anonymous("GET", f"/{name}")
        assert time.monotonic() - begun < 15
        assert (answer.status, b"The card is cut here" in answer.body) == (200, True)
        assert len(answer.body) < 5 * markdown.LIMIT


@pytest.mark.parametrize(
    "metadata",
    [
        "a: " + "[" * 90_000,
        "a: " + "[" * 900 + "]" * 900,
        "a: &a [*a]",
        "a0: &a0 [x,x,x,x]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)),
        "a0: &a0 {k: x}\n" + "".join(f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)),
        "a: 0x" + "f" * 9000,
        "a: " + "x" * (600 << 10),
    ],
)
def test_metadata_that_would_end_the_server_are_refused(api: HfApi, wire: Wire, repo: str, metadata: str) -> None:
    content = f"---\n{metadata}\n---\n"
    begun = time.monotonic()
    answer = wire("POST", "/api/validate-yaml", {"content": content, "repoType": "model"})
    assert answer.status == 400
    assert "metadata of README.md" in answer.json["error"]
    assert time.monotonic() - begun < 5


def test_metadata_that_json_cannot_hold_do_not_break_the_lists(api: HfApi, anonymous: Wire, name: str) -> None:
    put(api, name, **{"README.md": "---\na: .nan\nb: [.inf, 2020-01-01]\n? 1\n: x\n---\n# T"})
    metadata = anonymous("GET", f"/api/models/{name}").json["cardData"]
    assert metadata == {"a": "nan", "b": ["inf", "2020-01-01"], "1": "x"}
    assert anonymous("GET", "/api/models?full=true").status == 200


def test_the_address_of_an_artifact_is_where_its_page_is(api: HfApi, anonymous: Wire, name: str) -> None:
    head = put(api, name, "dataset", **{"a.txt": "1"})
    for repo in (f"datasets/{name}", f"datasets/{name}@{head}"):
        assert anonymous("GET", page_url("http://127.0.0.1:1/", repo).split(":1", 1)[1]).status == 200
    assert page_url("http://h", "o/n@refs/pr/1") == "http://h/o/n/tree/refs%2Fpr%2F1"
