"""What of a model is on disk: caches and folders that are made up."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from selfinstruct import hub_cache
from selfinstruct.hub_cache import Geometry, OnDisk
from tests.safetensors_bytes import safetensors

INDEX = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
SOME = b'{"model_type": "llama"}'
CONFIG = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}


def folder(path: Path, **files: bytes) -> Path:
    """A model's folder; a dot in a name is written ``__``."""
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / name.replace("__", ".")).write_bytes(content)
    return path


# --- where ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({"HF_HUB_CACHE": "/c", "HF_HOME": "/h"}, "/c"),
        ({"HF_HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/h/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({}, str(Path.home() / ".cache/huggingface/hub")),
    ],
)
def test_the_cache_is_where_the_hubs_own_library_has_it(environment: dict[str, str], path: str) -> None:
    """The nearest variable wins."""
    assert str(hub_cache.root(environment)) == path


def test_a_token_is_in_a_variable_or_in_the_file_of_a_login(tmp_path: Path) -> None:
    """An empty variable is none."""
    home = {"HF_HOME": str(tmp_path)}
    assert not hub_cache.has_token({**home, "HF_TOKEN": " "})
    assert hub_cache.has_token({**home, "HF_TOKEN": "hf_x"})
    (tmp_path / "token").write_text("hf_x")
    assert hub_cache.has_token(home)
    assert not hub_cache.has_token({**home, "HF_TOKEN_PATH": str(tmp_path / "other")})


def test_offline_is_what_the_variable_says() -> None:
    """0 is not."""
    assert [hub_cache.is_offline({"HF_HUB_OFFLINE": value}) for value in ("1", "TRUE", "0", "")] == [
        *(True, True),
        *(False, False),
    ]


def test_a_snapshot_is_found_by_branch_and_by_commit(tmp_path: Path) -> None:
    """Main, unless another revision is asked for."""
    model = tmp_path / "models--maker--Some-7B"
    for commit in ("aaa", "bbb"):
        (model / "snapshots" / commit).mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("aaa\n")
    found = [hub_cache.snapshot(tmp_path, "maker/Some-7B", revision) for revision in ("", "bbb", "ccc")]
    assert found == [model / "snapshots" / "aaa", model / "snapshots" / "bbb", None]
    assert hub_cache.snapshot(tmp_path, "maker/Other", "") is None


# --- what -----------------------------------------------------------------------------------------------------------


def test_one_file_of_weights_beside_the_configuration_is_whole(tmp_path: Path) -> None:
    """Safetensors before the older format, and Mistral's configuration as good as the usual one."""
    place = folder(tmp_path / "a", config__json=SOME, model__safetensors=safetensors(70), pytorch_model__bin=b"1")
    assert hub_cache.weights_in(place) == OnDisk(70)
    place = folder(tmp_path / "b", params__json=SOME, consolidated__bin=b"123", training_args__bin=b"1")
    assert hub_cache.weights_in(place) == OnDisk(3)


def test_what_the_index_names_must_be_there(tmp_path: Path) -> None:
    """One part is a link into the cache that leads nowhere; the size is of what is there."""
    place = folder(tmp_path, config__json=SOME, model__safetensors__index__json=orjson.dumps(INDEX))
    (place / "model-00001-of-00002.safetensors").write_bytes(safetensors(70))
    (place / "model-00002-of-00002.safetensors").symlink_to(tmp_path / "blobs" / "gone")
    assert hub_cache.weights_in(place) == OnDisk(70, ("model-00002-of-00002.safetensors",))
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "gone").write_bytes(safetensors(80))
    assert hub_cache.weights_in(place) == OnDisk(150)


@pytest.mark.parametrize("index", [b"", b"[]", b"{}", b'{"weight_map": {}}'])
def test_a_broken_index_breaks_the_model(tmp_path: Path, index: bytes) -> None:
    """Whatever lies beside it."""
    place = folder(tmp_path, config__json=SOME, model__safetensors__index__json=index, model__safetensors=safetensors())
    assert hub_cache.weights_in(place) == OnDisk(64, broken=("model.safetensors.index.json",))


def test_parts_without_an_index_are_not_whole(tmp_path: Path) -> None:
    """Nothing says that they are all."""
    place = folder(tmp_path, config__json=SOME)
    (place / "model-00001-of-00003.safetensors").write_bytes(safetensors())
    assert hub_cache.weights_in(place) == OnDisk(64, ("model.safetensors.index.json",))


def test_without_weights_or_configuration_a_folder_is_no_model(tmp_path: Path) -> None:
    """Both are named."""
    assert hub_cache.weights_in(tmp_path) == OnDisk(0, ("config.json", "*.safetensors"))


@pytest.mark.parametrize("config", [b"", b"{", b"{}", b"[1]", b"\xff"])
def test_a_configuration_that_says_nothing_is_broken(tmp_path: Path, config: bytes) -> None:
    """No loader gets a model from it."""
    place = folder(tmp_path, config__json=config, model__safetensors=safetensors())
    assert hub_cache.weights_in(place) == OnDisk(64, broken=("config.json",))


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"1234567", safetensors(100)[:30], safetensors(100)[:-1], safetensors(100) + b"0"),
        *(bytes(100), b"\xff" * 100, (2).to_bytes(8, "little") + b"{}", (7).to_bytes(8, "little") + b'{"w":1}'),
    ],
)
def test_weights_that_are_not_as_long_as_they_say_are_broken(tmp_path: Path, content: bytes) -> None:
    """Cut anywhere, or nothing of the kind; of the parts that an index names, each one."""
    place = folder(tmp_path / "one", config__json=SOME, model__safetensors=content)
    assert hub_cache.weights_in(place) == OnDisk(len(content), broken=("model.safetensors",))
    place = folder(tmp_path / "parts", config__json=SOME, model__safetensors__index__json=orjson.dumps(INDEX))
    (place / "model-00001-of-00002.safetensors").write_bytes(content)
    found = hub_cache.weights_in(place)
    assert found == OnDisk(len(content), ("model-00002-of-00002.safetensors",), ("model-00001-of-00002.safetensors",))
    assert not found.whole


# --- its shape ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (CONFIG, Geometry(32, 8, 128)),
        ({**CONFIG, "head_dim": 64}, Geometry(32, 8, 64)),
        ({name: CONFIG[name] for name in CONFIG if name != "num_key_value_heads"}, Geometry(32, 32, 128)),
        ({"text_config": CONFIG, "hidden_size": 1}, Geometry(32, 8, 128)),
        ({"n_layer": 4}, Geometry()),
        ([], Geometry()),
    ],
)
def test_the_shape_is_read_from_the_configuration(tmp_path: Path, config: object, shape: Geometry) -> None:
    """Of the language model; a model of another spelling has none."""
    folder(tmp_path, config__json=orjson.dumps(config))
    assert hub_cache.geometry(tmp_path) == shape


def test_no_configuration_no_shape(tmp_path: Path) -> None:
    """Nor an error."""
    assert hub_cache.geometry(tmp_path) == Geometry()
