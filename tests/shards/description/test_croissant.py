import hashlib
import json

import pyarrow.parquet as pq
import pytest
from shard_samples import write_output

from faceaug.shards.manifest import read_manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_output(tmp_path_factory.mktemp("croissant") / "out")


@pytest.fixture(scope="module")
def described(folder):
    return json.loads((folder / "croissant.json").read_text("utf-8"))


def test_what_croissant_1_0_requires_of_a_dataset_is_there(described):
    assert described["@type"] == "sc:Dataset"
    assert "http://mlcommons.org/croissant/1.0" in described["conformsTo"]
    for name in ("@context", "name", "description", "license", "url", "datePublished", "creator", "version", "citeAs"):
        assert described[name], name
    assert described["@context"]["@vocab"] == "https://schema.org/"
    assert described["@context"]["cr"] == "http://mlcommons.org/croissant/"
    assert (described["faceaug:format"], described["faceaug:version"]) == ("faceaug-croissant", 1)


def test_every_file_object_is_a_file_with_its_hash(folder, described):
    files = described["distribution"]
    assert {f["contentUrl"] for f in files} == {"samples.parquet", *(s.name for s in read_manifest(folder).shards)}
    for file in files:
        assert file["@type"] == "cr:FileObject"
        assert file["@id"] == file["name"] == file["contentUrl"]
        assert file["encodingFormat"]
        data = (folder / file["contentUrl"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(data).hexdigest()
        assert file["contentSize"] == f"{len(data)} B"


def test_every_column_of_the_table_is_a_field_with_a_source(folder, described):
    samples = next(r for r in described["recordSet"] if r["@id"] == "samples")
    schema = pq.read_schema(folder / "samples.parquet")
    assert [f["source"]["extract"]["column"] for f in samples["field"]] == schema.names
    for field in samples["field"]:
        assert field["@type"] == "cr:Field"
        assert field["source"]["fileObject"] == {"@id": "samples.parquet"}
        kind = schema.field(field["source"]["extract"]["column"]).type
        expected = (
            "sc:Integer"
            if "int" in str(kind).split("<")[0]
            else "sc:Float"
            if "float" in str(kind) or str(kind) == "double"
            else "sc:Text"
        )
        assert field["dataType"] == expected


def test_every_reference_leads_somewhere(described):
    ids = {f["@id"] for f in described["distribution"]}
    for record in described["recordSet"]:
        assert record["@type"] == "cr:RecordSet"
        ids |= {record["@id"], *(f["@id"] for f in record["field"])}
    found = []

    def walk(value):
        if isinstance(value, dict):
            found.extend([value["@id"]] if set(value) == {"@id"} else [])
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk([described["distribution"], described["recordSet"]])
    assert len(found) > 10
    assert set(found) <= ids


def test_levels_are_enumerations_that_the_fields_refer_to(described):
    levels = {r["@id"]: r for r in described["recordSet"] if r.get("dataType") == "sc:Enumeration"}
    assert set(levels) == {"levels/gender", "levels/skin/tone"}
    assert levels["levels/gender"]["data"] == [{"levels/gender/name": "female"}, {"levels/gender/name": "male"}]
    samples = next(r for r in described["recordSet"] if r["@id"] == "samples")
    gender = next(f for f in samples["field"] if f["name"] == "samples/gender")
    assert gender["references"] == {"field": {"@id": "levels/gender/name"}}


def test_every_term_is_in_the_context(described):
    known = set(described["@context"]) | {
        "name",
        "description",
        "license",
        "url",
        "version",
        "datePublished",
        "creator",
    }
    known |= {"distribution", "contentUrl", "contentSize", "encodingFormat", "sha256"}  # of schema.org, the @vocab
    used = set()

    def walk(value):
        if isinstance(value, dict):
            used.update(value)
            for key, item in value.items():
                if key not in ("@context", "data"):
                    walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(described)
    prefixes = ("@", "rai:", "faceaug:")
    assert {term for term in used if not term.startswith(prefixes)} <= known
