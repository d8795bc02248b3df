import re

import pytest
import yaml
from shard_samples import header, write_output

from faceaug.shards.manifest import DatasetRecord, read_manifest


def read_card(folder):
    return (folder / "README.md").read_text("utf-8")


def test_the_card_says_what_from_what_and_what_came_of_it(tmp_path):
    folder = write_output(tmp_path / "out")
    text = read_card(folder)
    manifest = read_manifest(folder)
    for said in (
        "30 face images",
        "| female | 50 | 40 | 15 | 25 | blurred 24 |  |",
        "| male | 40 | 30 | 15 | 15 | duplicate 1 | only so far |",
        manifest.generator.sha256,
        manifest.dataset.fingerprint,
        "faceaug balance faces/ -o out/",
        "| semantic/yaw | float32 | degrees | measured |",
        'ShardDataset("out")',
        "## Licence and consent\n\nMIT",
        "## Known limits",
    ):
        assert said in text


def test_its_header_is_yaml_with_format_and_version(tmp_path):
    head = yaml.safe_load(read_card(write_output(tmp_path / "out")).split("---")[1])
    assert (head["format"], head["version"]) == ("faceaug-card", 1)
    assert head["pretty_name"] == "faces|old balanced"
    assert head["license_name"] == "MIT"


def test_rows_of_tables_have_as_many_cells_as_their_head(tmp_path):
    name = "a|b\n*c* <script> `d`"
    dataset = DatasetRecord(name=name, fingerprint="d" * 64, rows=1)
    text = read_card(write_output(tmp_path / "out", dataset=dataset))
    assert "<script>" not in text.split("---", 2)[2]
    counts = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        counts.append({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()})
    assert len(counts) == 3
    assert all(len(found) == 1 for found in counts)


@pytest.mark.parametrize("without", [False, True])
def test_real_people_are_named_as_such(tmp_path, without):
    changes = {"generator": None} if without else {}
    text = read_card(write_output(tmp_path / "out", **changes))
    assert "they show real people" in text
    assert ("are synthesized, not photographed" in text) is not without
    assert ("that of the data set faces" in text) is without


@pytest.mark.parametrize(("licence", "said"), [("CC BY-NC 4.0", True), ("CC BY 4.0", False)])
def test_a_licence_for_research_alone_holds_for_the_samples(tmp_path, licence, said):
    text = read_card(write_output(tmp_path / "out", config={"licence": licence}))
    assert ("The samples are for research or non-commercial use alone." in text) is said


def test_the_header_of_the_helpers_is_complete():
    assert header().generator is not None
