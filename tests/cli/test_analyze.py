"""faceaug analyze."""

from __future__ import annotations

import json

from faceaug import analyze, load_dataset


def test_json_is_the_whole_analysis(faceaug_cli, faces):
    outcome = faceaug_cli("analyze", faces, "--by", "gender,ethnicity", "--minimum", 5, "--json")
    assert outcome.status == 0
    assert outcome.json == analyze(load_dataset(faces), "gender,ethnicity", minimum=5).to_dict()
    assert [cell["count"] for cell in outcome.json["cells"]] == [8, 2, 4, 6]


def test_by_may_be_repeated_and_text_is_the_default(faceaug_cli, faces):
    outcome = faceaug_cli("analyze", faces, "--by", "gender", "--by", "ethnicity")
    assert outcome.out == analyze(load_dataset(faces), "gender,ethnicity").to_text() + "\n"
    assert outcome.err == ""


def test_the_reference_changes_the_divergence(faceaug_cli, faces, tmp_path):
    reference = tmp_path / "reference.json"
    reference.write_text(json.dumps({"female": 0.5, "male": 0.5}))
    even = faceaug_cli("analyze", faces, "--by", "gender", "--reference", reference, "--json").json
    reference.write_text(json.dumps({"female": 0.9, "male": 0.1}))
    other = faceaug_cli("analyze", faces, "--by", "gender", "--reference", reference, "--json").json
    assert even["figures"]["kl_from_reference"] == 0 < other["figures"]["kl_from_reference"]


def test_labels_elsewhere_split_and_column(faceaug_cli, faces, tmp_path):
    lines = (faces / "labels.csv").read_text().splitlines()
    parts = ["image,split", *(f"{line.split(',')[0]},{('train', 'test')[n % 2]}" for n, line in enumerate(lines[1:]))]
    labels = tmp_path / "other.tsv"
    table = [f"{a}\t{b}\t{n % 3}" for n, (a, b) in enumerate(part.split(",") for part in parts[1:])]
    labels.write_text("\n".join(["image\tsplit\tthird", *table]))
    words = [
        "analyze",
        faces,
        "--labels",
        labels,
        "--reader",
        "folder",
        "--file-column",
        "image",
        "--by",
        "third",
        "--json",
    ]
    assert faceaug_cli(*words).json["rows"] == 10
    assert faceaug_cli(*words, "--split", "all").json["rows"] == 20


def test_entries_that_are_left_out_give_a_warning_or_with_strict_an_error(faceaug_cli, faces):
    (faces / "001.png").write_bytes(b"no image")
    loose = faceaug_cli("analyze", faces, "--by", "gender", "--json")
    assert loose.json["rows"] == 19
    assert loose.err.startswith("Warning: faces: left out 1 unreadable image")
    assert faceaug_cli("analyze", faces, "--by", "gender", "--json", "--check", "none").json["rows"] == 20
    strict = faceaug_cli("analyze", faces, "--by", "gender", "--strict")
    assert (strict.status, strict.out) == (1, "")
    assert strict.err.startswith("Error: faces is not clean")
