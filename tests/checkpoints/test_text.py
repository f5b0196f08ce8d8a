"""Reading checkpoints and mapping names between public layouts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from litetext.checkpoints import reading
from litetext.checkpoints import text as layouts
from litetext.checkpoints.text import convert, from_native, read_text_state, resize_positions, to_native
from litetext.checkpoints.writing import replace_text, to_layout, write_state

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
PAIRS = [("eff_S0", "efficientsam3", "hf_S0", "litetext"), ("eff_L", "efficientsam3", "hf_L", "litetext")]
PAIRS += [("meta_teacher", "meta", "hf_teacher", "sam3")]


def same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=0, atol=0, msg=key)


@pytest.mark.parametrize(("file", "layout", "other_file", "other"), PAIRS)
def test_layouts_convert_both_ways(file: str, layout: str, other_file: str, other: str) -> None:
    a, b = load_file(GOLDEN / f"{file}.safetensors"), load_file(GOLDEN / f"{other_file}.safetensors")
    same(convert(a, layout, other), b)
    same(convert(b, other, layout), a)


@pytest.mark.parametrize("layout", ["apple", "open_clip"])
def test_towers_without_projector_keep_the_rest(layout: str) -> None:
    file, source = ("eff_S0", "efficientsam3") if layout == "apple" else ("meta_teacher", "meta")
    native = to_native(load_file(GOLDEN / f"{file}.safetensors"), source)
    back = to_native(from_native(native, layout), layout)
    same(back, {key: value for key, value in native.items() if not key.startswith("projector.")})


@pytest.mark.parametrize("wrap", ["safetensors", "model", "state_dict", "flat"])
def test_text_encoder_is_found_under_any_prefix(tmp_path: Path, wrap: str) -> None:
    prefix = "detector.backbone.language_backbone."
    weights = load_file(GOLDEN / "meta_teacher.safetensors")
    whole = {prefix + key: value for key, value in weights.items()}
    whole |= {"detector.backbone.vision_backbone.x": torch.ones(3), "tracker.encoder.token": torch.ones(1)}
    path = tmp_path / ("sam3.safetensors" if wrap == "safetensors" else "sam3.pt")
    if wrap == "safetensors":
        save_file(whole, path)
    else:
        torch.save(whole if wrap == "flat" else {wrap: whole, "epoch": 3}, path)
    found = read_text_state(path)
    assert (found.layout, found.prefix) == ("meta", prefix)
    same(found.state, to_native(weights, "meta"))


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    weights = {key: value.half() for key, value in load_file(GOLDEN / "hf_teacher.safetensors").items()}
    save_file(weights, tmp_path / "half.safetensors")
    assert {t.dtype for t in read_text_state(tmp_path / "half.safetensors").state.values()} == {torch.float32}


def resident() -> int:
    """Bytes of this process in memory, mapped pages of files included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


# In a process of its own: one that ran other tests before may have memory to fill without growing.
GROWTH = """
import sys
from pathlib import Path
from litetext.checkpoints import reading
def resident():  # bytes in memory, mapped pages of files included
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
before = resident()
file = reading.open_state(Path(sys.argv[1]))
taken = file.under([sys.argv[2]])
after = resident()
everything = file.fetch(file.keys)  # the control: reading the vision weights would have shown
print(len(taken), after - before, resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_vision_weights_of_a_torch_file_are_not_read(tmp_path: Path) -> None:
    text = load_file(GOLDEN / "meta_teacher.safetensors")
    vision = {"detector.backbone.vision_backbone.weight": torch.zeros(48, 1024, 1024, dtype=torch.uint8)}
    prefix = "detector.backbone.language_backbone."
    path = tmp_path / "sam3.pt"
    torch.save({"model": vision | {prefix + key: value for key, value in text.items()}}, path)
    command = [sys.executable, "-c", GROWTH, str(path), prefix]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    taken, read, everything = map(int, told.split())
    assert taken == len(text)
    assert read < 16 * 2**20
    assert everything > 40 * 2**20


def test_only_text_tensors_of_safetensors_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Watched:
        def __init__(self, path: Path, framework: str) -> None:
            self.file = real(path, framework=framework)

        def __enter__(self) -> "Watched":
            self.opened = self.file.__enter__()
            return self

        def __exit__(self, *error: object) -> None:
            self.file.__exit__(*error)

        def keys(self) -> list[str]:
            return self.opened.keys()

        def get_tensor(self, key: str) -> torch.Tensor:
            asked.append(key)
            return self.opened.get_tensor(key)

    real = reading.safe_open
    text = load_file(GOLDEN / "hf_teacher.safetensors")
    save_file(text | {"vision_encoder.x": torch.ones(2)}, tmp_path / "model.safetensors")
    monkeypatch.setattr(reading, "safe_open", Watched)
    read_text_state(tmp_path)
    assert set(asked) == set(text)


def garbage(path: Path) -> Path:
    path.write_bytes(b"this is no checkpoint " * 100)
    return path


def truncated(path: Path) -> Path:
    source = GOLDEN / "eff_S1.safetensors"
    if path.suffix == ".safetensors":
        path.write_bytes(source.read_bytes()[:-1000])
    else:
        torch.save({"model": load_file(source)}, path)
        path.write_bytes(path.read_bytes()[:5000])
    return path


@pytest.mark.parametrize("make", [garbage, truncated])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.ckpt"])
def test_damaged_files_are_named_in_one_line(tmp_path: Path, make, name: str) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        read_text_state(make(tmp_path / name))
    assert "\n" not in str(caught.value)
    assert "cannot be read" in str(caught.value)


class Bomb:
    def __reduce__(self):
        return (print, ("a checkpoint ran code",))


def test_a_pickle_that_calls_a_function_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": {"x": Bomb()}}, tmp_path / "bomb.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        read_text_state(tmp_path / "bomb.pt")
    assert "ran code" not in capsys.readouterr().out


def test_missing_files_shards_and_strange_names(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        read_text_state(tmp_path / "nowhere.pt")
    with pytest.raises(FileNotFoundError, match=r"neither model\.safetensors"):
        read_text_state(tmp_path)
    (tmp_path / reading.INDEX).write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    with pytest.raises(FileNotFoundError, match=r"model-1\.safetensors of its index is missing"):
        read_text_state(tmp_path)
    (tmp_path / reading.INDEX).write_text('{"weight_map": {"a": "../model-1.safetensors"}}')
    with pytest.raises(ValueError, match="outside the folder"):
        read_text_state(tmp_path)
    (tmp_path / reading.INDEX).write_text("[]")
    with pytest.raises(ValueError, match="index of shards"):
        read_text_state(tmp_path)
    (tmp_path / "weights.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        read_text_state(tmp_path / "weights.npz")


def test_a_file_without_or_with_several_text_encoders(tmp_path: Path) -> None:
    save_file({"vision.x": torch.ones(1)}, tmp_path / "v.safetensors")
    with pytest.raises(ValueError, match=r"no text encoder .*it has 1 keys \(vision\.x\)"):
        read_text_state(tmp_path / "v.safetensors")
    native = to_native(load_file(GOLDEN / "eff_S1.safetensors"), "efficientsam3")
    two = {f"{who}.{key}": value for key, value in native.items() for who in ("student", "teacher")}
    torch.save({"state_dict": two}, tmp_path / "two.ckpt")
    with pytest.raises(ValueError, match=r"2 text encoders, with the prefixes 'student\.', 'teacher\.'"):
        read_text_state(tmp_path / "two.ckpt")
    same(read_text_state(tmp_path / "two.ckpt", prefix="student.").state, native)


def test_unknown_keys_and_lost_parts_are_named(tmp_path: Path) -> None:
    weights = load_file(GOLDEN / "hf_teacher.safetensors")
    extra = weights | {"text_encoder.text_model.surprise": torch.ones(1)}
    extra["text_encoder.text_model.embeddings.position_ids"] = torch.arange(4)  # old versions stored it
    with pytest.raises(ValueError, match=r"1 unexpected \(text_encoder\.text_model\.surprise\)"):
        to_native(extra, "sam3")
    lost = "text_encoder.text_model.encoder.layers.1.self_attn.k_proj.bias"
    with pytest.raises(ValueError, match=r"blocks\.1\.attention\.qkv\.bias without k"):
        to_native({key: value for key, value in weights.items() if key != lost}, "sam3")
    flat = load_file(GOLDEN / "eff_S1.safetensors") | {
        "encoder.positional_embedding.pos_embed.pos_embed": torch.ones(2)
    }
    with pytest.raises(ValueError, match="4 axes are wanted"):
        to_native(flat, "efficientsam3")
    with pytest.raises(ValueError, match=r"no place for 1 keys \(embedding\.lift\.weight\)"):
        from_native({"embedding.lift.weight": torch.ones(2, 2)}, "sam3")


def test_positions_are_sliced_or_resampled_only_when_asked() -> None:
    state = {"embedding.position": torch.arange(40.0).view(20, 2)}
    sliced, note = resize_positions(state, 16, "slice")
    assert note == "first 16 of 20 positions"
    torch.testing.assert_close(sliced["embedding.position"], state["embedding.position"][:16])
    assert resize_positions(state, 20, "slice")[1] == ""
    with pytest.raises(ValueError, match="fewer than context_length=32"):
        resize_positions(state, 32, "slice")
    grown, _ = resize_positions(state, 32, "interpolate")
    assert grown["embedding.position"].shape == (32, 2)


def test_every_layout_has_a_signature_no_other_answers_to() -> None:
    for layout in layouts.LAYOUTS.values():
        answering = [o.name for o in layouts.LAYOUTS.values() if ("." + layout.signature).endswith("." + o.signature)]
        assert answering == [layout.name]


STUDENT_LAYOUTS = ("efficientsam3", "litetext", "native")
TRANSFORMER_LAYOUTS = (*STUDENT_LAYOUTS, "meta", "sam3")


@pytest.mark.parametrize(("file", "names"), [("eff_S0", STUDENT_LAYOUTS), ("eff_L", STUDENT_LAYOUTS)])
def test_every_layout_to_every_other_and_back_by_file(tmp_path: Path, file: str, names: tuple[str, ...]) -> None:
    native = to_native(load_file(GOLDEN / f"{file}.safetensors"), "efficientsam3")
    walk(tmp_path, native, names)


def test_every_layout_of_transformer_towers_and_back_by_file(tmp_path: Path) -> None:
    walk(tmp_path, to_native(load_file(GOLDEN / "eff_S1.safetensors"), "efficientsam3"), TRANSFORMER_LAYOUTS)
    walk(tmp_path, to_native(load_file(GOLDEN / "meta_teacher.safetensors"), "meta"), ("meta", "sam3", "native"))


def walk(folder: Path, native: dict[str, torch.Tensor], names: tuple[str, ...]) -> None:
    """Writes and reads each layout, then each from each."""
    for n, first in enumerate(names):
        for second in names:
            suffix = (".pt", ".safetensors")[n % 2]
            write_state(to_layout(native, first, "some.prefix."), folder / f"first{suffix}")
            once = read_text_state(folder / f"first{suffix}")
            assert (once.layout, once.prefix) == (first, "some.prefix.")
            write_state(to_layout(once.state, second), folder / "second.safetensors")
            same(read_text_state(folder / "second.safetensors").state, native)


def test_towers_without_projector_by_file(tmp_path: Path) -> None:
    native = to_native(load_file(GOLDEN / "eff_S1.safetensors"), "efficientsam3")
    rest = {key: value for key, value in native.items() if not key.startswith("projector.")}
    for layout in ("apple", "open_clip"):
        write_state(to_layout(native, layout), tmp_path / "tower.pt")
        found = read_text_state(tmp_path / "tower.pt")
        assert found.layout == layout
        same(found.state, rest)
    with pytest.raises(ValueError, match=r"must end in \.safetensors or \.pt"):
        write_state(native, tmp_path / "weights.bin")


def test_a_whole_model_gets_another_text_encoder() -> None:
    whole = {"a.text.x": torch.ones(1), "b": torch.ones(2)}
    assert replace_text(whole, {"a.text.y": torch.zeros(1)}, ("a.text.",), "f").keys() == {"a.text.y", "b"}
    with pytest.raises(ValueError, match="nothing but a text encoder"):
        replace_text({"a.text.x": torch.ones(1)}, {}, ("a.text.",), "f")
    with pytest.raises(ValueError, match="the name b is taken"):
        replace_text(whole, {"b": torch.zeros(1)}, ("a.text.",), "f")


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc")
@pytest.mark.parametrize("name", ["sam3.pt", "sam3.safetensors"])
def test_a_file_does_not_count_twice_while_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_state({f"text.{n}": torch.zeros(2**20) for n in range(12)}, tmp_path / name)
    monkeypatch.setattr(reading, "_AT_ONCE", 2**22)
    file = reading.open_state(tmp_path / name)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident()
    taken = file.under(["text."])
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
    assert peak - before < 1.5 * sum(tensor.nbytes for tensor in taken.values())
