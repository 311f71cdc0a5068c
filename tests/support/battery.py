"""Operations of clients on a Hub, one function each.

A program against the Hub of its environment (HF_ENDPOINT, HF_TOKEN). Its argument is the namespace to which it writes.
It prints one line of JSON per operation and deletes everything that it creates.
"""

import inspect
import io
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import evaluate
import pandas
import torch
from datasets import Dataset, DatasetDict, get_dataset_config_names, load_dataset
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    HfApi,
    HfFileSystem,
    ModelCard,
    hf_hub_url,
    metadata_load,
    metadata_update,
)
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils import disable_progress_bars
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Operation = Callable[["Client"], None]


class Client:
    """A client library with a namespace and a folder of its own."""

    def __init__(self, namespace: str, folder: Path) -> None:
        self.api, self.namespace, self.folder = HfApi(), namespace, folder
        self.repositories: list[tuple[str, str]] = []

    def name(self, kind: str = "model") -> str:
        """Return a new name; a repository of that name is deleted at the end."""
        name = f"{self.namespace}/battery-{secrets.token_hex(5)}"
        self.repositories.append((name, kind))
        return name

    def repo(self, kind: str = "model", **more: Any) -> str:
        name = self.name(kind)
        self.api.create_repo(name, repo_type=kind, **more)
        return name

    def put(self, repo: str, path: str, content: bytes, **more: Any) -> str:
        return str(self.api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=repo, **more).oid)


def refused(status: int, call: Callable[[], Any]) -> Any:
    """Return the error of a call that must be refused with that status."""
    try:
        call()
    except HfHubHTTPError as error:
        assert error.response.status_code == status, error
        return error
    raise AssertionError(f"expected {status}, was accepted")


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def whoami(c: Client) -> None:
    me = c.api.whoami()
    assert c.namespace in {me["name"], *(org["name"] for org in me["orgs"])}
    assert me["auth"]["accessToken"]["role"] in ("write", "fineGrained")


def create_and_delete_each_kind(c: Client) -> None:
    for kind, more in (("model", {}), ("dataset", {}), ("space", {"space_sdk": "static"})):
        name = c.name(kind)
        url = c.api.create_repo(name, repo_type=kind, **more)
        assert (url.repo_id, url.repo_type) == (name, kind)
        refused(409, lambda name=name, kind=kind, more=more: c.api.create_repo(name, repo_type=kind, **more))
        assert c.api.create_repo(name, repo_type=kind, exist_ok=True, **more) == url
        about = c.api.repo_info(name, repo_type=kind)
        assert (about.id, about.author, about.private) == (name, c.namespace, False)
        c.api.delete_repo(name, repo_type=kind)
        assert not c.api.repo_exists(name, repo_type=kind)
        c.api.delete_repo(name, repo_type=kind, missing_ok=True)


def a_foreign_namespace_is_forbidden(c: Client) -> None:
    refused(403, lambda: c.api.create_repo(f"huggingface/battery-{secrets.token_hex(5)}"))


def move_and_visibility(c: Client) -> None:
    old, new = c.repo(), c.name()
    head = c.put(old, "a.txt", b"1")
    c.api.move_repo(old, new)
    assert c.api.model_info(new).sha == head
    c.api.update_repo_settings(new, private=True)
    assert c.api.model_info(new).private
    stranger = HfApi(token=False)
    fresh = c.folder / "stranger"
    for read in (lambda: stranger.model_info(new), lambda: stranger.hf_hub_download(new, "a.txt", cache_dir=fresh)):
        try:
            read()
        except RepositoryNotFoundError:
            continue
        raise AssertionError("a stranger read a private repository")
    refused(401, lambda: HfApi(token="hf_" + "x" * 34).whoami())
    c.api.update_repo_settings(new, private=False)
    assert stranger.repo_exists(new)


def upload_folder_with_all_sorts_of_files(c: Client) -> None:
    folder = c.folder / "sorts"
    contents = {
        "README.md": b"---\nlicense: mit\n---\n# T\n",
        "w.safetensors": os.urandom(12_000_000),
        "long.txt": b"line of text\n" * 900_000,
        "empty": b"",
        "d/e/f.txt": b"deep",
        "odd # folder/name é?.txt": b"odd",
        "100% a+b&c=d?.txt": b"?",
    }
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    repo = c.repo()
    c.api.upload_folder(repo_id=repo, folder_path=folder)
    head = c.api.model_info(repo).sha
    assert set(c.api.list_repo_files(repo)) - {".gitattributes"} == set(contents)
    c.api.upload_folder(repo_id=repo, folder_path=folder)
    assert c.api.model_info(repo).sha == head, "the same files made another commit"
    back = Path(c.api.snapshot_download(repo, local_dir=c.folder / "back"))
    for path, content in contents.items():
        assert (back / path).read_bytes() == content, path
    sizes = {sibling.rfilename: sibling for sibling in c.api.model_info(repo, files_metadata=True).siblings or []}
    assert sizes["w.safetensors"].size == 12_000_000
    assert sizes["w.safetensors"].lfs
    assert sizes["empty"].size == 0
    assert not sizes["empty"].lfs


def upload_bytes_and_streams(c: Client) -> None:
    repo = c.repo()
    for path, source in (("a.txt", b"a"), ("b.bin", os.urandom(50_000)), ("c.bin", io.BytesIO(b"\0" * 50_000))):
        assert c.api.upload_file(path_or_fileobj=source, path_in_repo=path, repo_id=repo).oid
    assert Path(c.api.hf_hub_download(repo, "c.bin")).read_bytes() == b"\0" * 50_000


def commits_at_once(c: Client) -> None:
    repo = c.repo()
    parent = c.api.model_info(repo).sha

    def write(number: int, parent_commit: str | None = None) -> int:
        edit = CommitOperationAdd(f"{number}-{parent_commit is None}.txt", str(number).encode())
        try:
            c.api.create_commit(repo, [edit], commit_message="m", parent_commit=parent_commit)
        except Exception as error:
            return int(error.response.status_code)  # type: ignore[attr-defined]
        return 200

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(lambda n: write(n, parent), range(6))) == [200] + [412] * 5
        assert list(pool.map(write, range(6))) == [200] * 6
    assert len(c.api.list_repo_files(repo)) == 8


def copy_and_delete(c: Client) -> None:
    repo = c.repo()
    c.put(repo, "d/a.txt", b"a")
    c.put(repo, "d/b.bin", b"\0" * 20_000)
    copies = [CommitOperationCopy("d/a.txt", "e/a.txt"), CommitOperationCopy("d/b.bin", "e/b.bin")]
    c.api.create_commit(repo, copies, commit_message="copy")
    c.api.delete_folder("d", repo)
    c.api.delete_file("e/a.txt", repo)
    assert sorted(c.api.list_repo_files(repo)) == [".gitattributes", "e/b.bin"]
    assert Path(c.api.hf_hub_download(repo, "e/b.bin")).read_bytes() == b"\0" * 20_000
    refused(404, lambda: c.api.delete_file("none", repo))


def branches_tags_and_history(c: Client) -> None:
    repo = c.repo()
    first = c.put(repo, "a.txt", b"1", commit_message="first\n\nwhy")
    c.api.create_branch(repo, branch="feat/x")
    c.put(repo, "b.txt", b"2", revision="feat/x")
    c.api.create_tag(repo, tag="v1", revision=first, tag_message="m")
    refused(409, lambda: c.api.create_branch(repo, branch="feat/x"))
    refused(409, lambda: c.api.create_tag(repo, tag="v1"))
    refs = c.api.list_repo_refs(repo)
    assert {branch.name for branch in refs.branches} == {"main", "feat/x"}
    assert refs.tags[0].name == "v1"
    assert sorted(c.api.list_repo_files(repo, revision="feat/x")) == [".gitattributes", "a.txt", "b.txt"]
    assert c.api.model_info(repo, revision="v1").sha == first
    commits = c.api.list_repo_commits(repo, revision="feat/x")
    assert (len(commits), commits[1].title) == (3, "first")
    c.api.super_squash_history(repo, branch="feat/x")
    assert len(c.api.list_repo_commits(repo, revision="feat/x")) == 1
    assert sorted(c.api.list_repo_files(repo, revision="feat/x")) == [".gitattributes", "a.txt", "b.txt"]
    assert c.api.list_repo_files(repo) == [".gitattributes", "a.txt"]
    c.api.delete_branch(repo, branch="feat/x")
    c.api.delete_tag(repo, tag="v1")
    refused(404, lambda: c.api.model_info(repo, revision="v1"))


def trees_and_paths(c: Client) -> None:
    repo = c.repo()
    for path in ("a.txt", "d/b.txt", "d/e/c.bin"):
        c.put(repo, path, b"\0" * 3000 if path.endswith("bin") else b"x")
    assert {entry.path for entry in c.api.list_repo_tree(repo)} == {"d", ".gitattributes", "a.txt"}
    deep = {entry.path: entry for entry in c.api.list_repo_tree(repo, recursive=True, expand=True)}
    assert set(deep) == {".gitattributes", "a.txt", "d", "d/b.txt", "d/e", "d/e/c.bin"}
    assert deep["d/e/c.bin"].size == 3000
    assert deep["a.txt"].last_commit
    assert [entry.path for entry in c.api.list_repo_tree(repo, "d/e")] == ["d/e/c.bin"]
    assert {entry.path for entry in c.api.get_paths_info(repo, ["d", "a.txt", "none"])} == {"d", "a.txt"}
    assert c.api.file_exists(repo, "d/b.txt")
    assert not c.api.file_exists(repo, "none")
    for read in (lambda: list(c.api.list_repo_tree(repo, "none")), lambda: c.api.hf_hub_download(repo, "none")):
        try:
            read()
        except EntryNotFoundError:
            continue
        raise AssertionError("what is not there was found")


def downloads_by_branch_tag_and_commit(c: Client) -> None:
    repo = c.repo()
    first = c.put(repo, "a.txt", b"1")
    c.api.create_tag(repo, tag="v1")
    c.put(repo, "a.txt", b"2")
    for revision, content in (("main", b"2"), ("v1", b"1"), (first, b"1")):
        assert Path(c.api.hf_hub_download(repo, "a.txt", revision=revision)).read_bytes() == content
        assert (Path(c.api.snapshot_download(repo, revision=revision)) / "a.txt").read_bytes() == content
    assert Path(c.api.hf_hub_download(repo, "a.txt", local_dir=c.folder / "local")).read_bytes() == b"2"
    meta = c.api.get_hf_file_metadata(url=hf_hub_url(repo, "a.txt"))
    assert (meta.size, meta.commit_hash) == (1, c.api.model_info(repo).sha)


def pull_requests_and_discussions(c: Client) -> None:
    repo = c.repo()
    c.put(repo, "a.txt", b"1")
    done = c.api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id=repo, create_pr=True)
    assert (done.pr_revision, done.pr_num) == ("refs/pr/1", 1)
    assert Path(c.api.hf_hub_download(repo, "a.txt", revision="refs/pr/1")).read_bytes() == b"2"
    assert Path(c.api.hf_hub_download(repo, "a.txt")).read_bytes() == b"1"
    c.api.merge_pull_request(repo, 1)
    assert Path(c.api.hf_hub_download(repo, "a.txt")).read_bytes() == b"2"
    number = c.api.create_discussion(repo, title="A question").num
    c.api.comment_discussion(repo, number, comment="An answer")
    c.api.change_discussion_status(repo, number, new_status="closed")
    details = c.api.get_discussion_details(repo, number)
    assert (details.title, details.status) == ("A question", "closed")
    discussions = {(discussion.num, discussion.is_pull_request) for discussion in c.api.get_repo_discussions(repo)}
    assert discussions == {(1, True), (number, False)}


def lists_by_author_search_filter_and_page(c: Client) -> None:
    names = [c.repo("dataset") for _ in range(3)]
    tag = f"battery-{secrets.token_hex(4)}"
    c.put(names[0], "README.md", f"---\ntags: [{tag}]\nlicense: mit\n---\n# T\n".encode(), repo_type="dataset")
    for _ in range(30):
        if [dataset.id for dataset in c.api.list_datasets(filter=tag)] == names[:1]:
            break
        time.sleep(2)
    assert [dataset.id for dataset in c.api.list_datasets(filter=[tag, "license:mit"])] == names[:1]
    assert {dataset.id for dataset in c.api.list_datasets(author=c.namespace)} >= set(names)
    assert [dataset.id for dataset in c.api.list_datasets(search=names[1].split("/")[1])] == names[1:2]
    newest = [dataset.id for dataset in c.api.list_datasets(author=c.namespace, sort="created_at", limit=3)]
    assert newest == names[::-1]
    (full,) = c.api.list_datasets(filter=tag, full=True)
    assert full.sha == c.api.dataset_info(names[0]).sha
    (some,) = c.api.list_datasets(filter=tag, expand=["lastModified", "cardData"])
    assert some.last_modified
    assert some.card_data
    assert some.card_data.license == "mit"


def collections(c: Client) -> None:
    repo = c.repo()
    collection = c.api.create_collection(f"Battery {secrets.token_hex(5)}", namespace=c.namespace, description="d")
    try:
        c.api.add_collection_item(collection.slug, repo, "model", note="n")
        assert [(item.item_id, item.note) for item in c.api.get_collection(collection.slug).items] == [(repo, "n")]
        assert collection.slug in {row.slug for row in c.api.list_collections(owner=c.namespace)}
        c.api.update_collection_metadata(collection.slug, title="Battery renamed")
    finally:
        c.api.delete_collection(collection.slug)


def cards(c: Client) -> None:
    repo = c.repo()
    ModelCard("---\nlicense: mit\ntags: [battery]\n---\n# T\n").push_to_hub(repo)
    assert ModelCard.load(repo).data.license == "mit"
    metadata_update(repo, {"library_name": "peft"})
    assert metadata_load(c.api.hf_hub_download(repo, "README.md"))["library_name"] == "peft"
    assert c.api.model_info(repo).library_name == "peft"


def file_system(c: Client) -> None:
    repo, files = c.repo("dataset"), HfFileSystem(use_listings_cache=False)
    with files.open(f"datasets/{repo}/d/a.txt", "w") as out:
        out.write("text")
    assert files.read_text(f"datasets/{repo}/d/a.txt") == "text"
    c.put(repo, "b.bin", bytes(range(256)) * 100, repo_type="dataset")
    with files.open(f"datasets/{repo}/b.bin") as content:
        content.seek(256)
        assert content.read(4) == b"\0\1\2\3"
        content.seek(-2, 2)
        assert content.read() == b"\xfe\xff"
    assert {Path(path).name for path in files.ls(f"datasets/{repo}", detail=False)} == {".gitattributes", "b.bin", "d"}
    files.rm(f"datasets/{repo}/d/a.txt")
    assert not files.exists(f"datasets/{repo}/d/a.txt")


def hf_command(c: Client) -> None:
    hf, folder, repo = str(Path(sys.executable).parent / "hf"), c.folder / "hf", c.name()
    folder.mkdir()
    (folder / "w.safetensors").write_bytes(os.urandom(100_000))
    run(hf, "auth", "whoami")
    run(hf, "upload", repo, str(folder))
    run(hf, "download", repo, "--local-dir", str(c.folder / "hf-back"))
    assert (c.folder / "hf-back/w.safetensors").read_bytes() == (folder / "w.safetensors").read_bytes()


def git_clone(c: Client) -> None:
    repo = c.repo(private=True)
    c.put(repo, "d/a.txt", b"text")
    address = c.api.endpoint.replace("://", f"://user:{c.api.token or os.environ['HF_TOKEN']}@", 1)
    os.environ["GIT_LFS_SKIP_SMUDGE"] = "1"
    run("git", "clone", "-q", f"{address}/{repo}", str(c.folder / "clone"))
    assert (c.folder / "clone/d/a.txt").read_text() == "text"
    run("git", "-C", str(c.folder / "clone"), "fsck", "--strict")


def datasets_library(c: Client) -> None:
    name = c.name("dataset")
    rows = Dataset.from_dict({"x": list(range(100))})
    both = DatasetDict({"train": rows, "test": rows.select(range(7))})
    both.push_to_hub(name, private=True, num_shards={"train": 2, "test": 1})
    rows.select(range(3)).push_to_hub(name, "second", split="eval")
    assert sorted(get_dataset_config_names(name)) == ["default", "second"]
    assert load_dataset(name).num_rows == {"train": 100, "test": 7}
    assert len(load_dataset(name, "second", split="eval")) == 3
    assert sum(row["x"] for row in load_dataset(name, split="train", streaming=True)) == 4950
    assert len(pandas.read_parquet(f"hf://datasets/{name}/data/test-00000-of-00001.parquet")) == 7


def evaluate_library(c: Client) -> None:
    space = c.repo("space", space_sdk="static")
    module = (
        "import datasets\nimport evaluate\nfrom .core import half\nclass Half(evaluate.Metric):\n"
        "    def _info(self):\n        return evaluate.MetricInfo(description='', citation='', inputs_description='',\n"
        "            features=datasets.Features({'predictions': datasets.Value('float32')}))\n"
        "    def _compute(self, predictions):\n        return {'half': half(predictions)}\n"
    )
    c.put(space, f"{space.split('/')[1]}.py", module.encode(), repo_type="space")
    first = c.put(space, "core.py", b"def half(xs): return sum(xs) / 2\n", repo_type="space")
    c.put(space, "core.py", b"def half(xs): return -1\n", repo_type="space")
    for revision, value in (("main", -1), (first, 2.0)):
        assert evaluate.load(space, revision=revision).compute(predictions=[1, 3]) == {"half": value}


def transformers_and_peft(c: Client) -> None:
    torch.set_num_threads(1)
    base, adapter = c.name(), c.name()
    config = LlamaConfig(vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    LlamaForCausalLM(config).push_to_hub(base)
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(["a", "b", "c", "<unk>"])}, "<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").push_to_hub(base)
    assert AutoTokenizer.from_pretrained(base).encode("c") == [2]
    lora = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False)
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora).eval()
    tuned.push_to_hub(adapter)
    ids = torch.tensor([[1, 2, 3]])
    fresh = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    assert not torch.equal(AutoModelForCausalLM.from_pretrained(base)(ids).logits, tuned(ids).logits)
    assert torch.equal(fresh(ids).logits, tuned(ids).logits)


OPERATIONS: list[Operation] = [
    function for function in list(globals().values())
    if inspect.isfunction(function) and list(inspect.signature(function).parameters) == ["c"]
]  # fmt: skip


def main() -> None:
    warnings.simplefilter("ignore")
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        for number, operation in enumerate(OPERATIONS):
            own = Path(folder) / str(number)
            own.mkdir()
            os.chdir(own)
            client, begun, error = Client(sys.argv[1], own), time.monotonic(), ""
            try:
                operation(client)
            except Exception:
                error = traceback.format_exc()
            for name, kind in client.repositories:
                client.api.delete_repo(name, repo_type=kind, missing_ok=True)
            seconds = round(time.monotonic() - begun, 2)
            print(json.dumps({"operation": operation.__name__, "error": error, "seconds": seconds}), flush=True)
        os.chdir("/")


if __name__ == "__main__":
    main()
