import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from faces_in_memory import Images, face_dataset
from shard_samples import sample, write_output
from torch.utils.data import DataLoader, Subset, WeightedRandomSampler

from faceaug.datasets import BalancedDataset, FaceDataset, LabelSource, ShardDataset, group_weights
from faceaug.errors import IntegrityError, UsageError

COUNT = 30
torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return write_output(tmp_path_factory.mktemp("data") / "out", count=COUNT, rows=12, codec="png")


def to_size(image):
    """A transform in the manner of torchvision; at the top level, so that workers can import it."""
    return torch.from_numpy(np.array(image.resize((8, 8)))).permute(2, 0, 1).float() / 255


def plain(item):
    image, labels = item
    return image.tolist(), repr({k: v.tolist() if hasattr(v, "tolist") else v for k, v in labels.items()})


def test_an_item_is_an_image_tensor_and_a_dictionary(out):
    dataset = ShardDataset(out)
    assert len(dataset) == COUNT
    image, labels = dataset[13]
    assert image.dtype == torch.uint8
    assert np.array_equal(image.permute(1, 2, 0).numpy(), sample(13).image)
    assert labels == {"gender": 1, "skin/tone": 1, "age": 33.0}
    assert dataset.levels == {"gender": ("female", "male"), "skin/tone": ("dunkel", "hell-weiß", "never")}
    assert dataset[-1][1]["age"] == 49.0


def test_the_transform_gets_a_pil_image(out):
    seen = []
    image, _ = ShardDataset(out, transform=lambda picture: seen.append(picture) or picture.size)[0]
    assert image == (24, 24)
    assert seen[0].mode == "RGB"


def test_every_column_can_be_selected(out):
    columns = ["semantic/yaw", "cell", "engine", "seed", "sha256", "source_sha256", "w", "attr_confidence/gender"]
    dataset = ShardDataset(out, columns=columns)
    made, turned = dataset[3][1], dataset[4][1]
    assert list(made) == columns == list(dataset.columns)
    assert made["semantic/yaw"] == np.float32(3)
    assert made["seed"] == str(sample(3).seed)
    assert (made["engine"], turned["engine"]) == (0, 1)
    assert (made["source_sha256"], turned["source_sha256"]) == ("", bytes(range(32)).hex())
    assert torch.equal(made["w"], torch.from_numpy(sample(3).w))
    assert turned["w"].isnan().all()
    (batch,) = DataLoader(Subset(dataset, [4, 3]), batch_size=2)
    assert batch[1]["w"].shape == (2, 6)
    assert batch[1]["cell"].dtype == torch.int64
    assert batch[1]["attr_confidence/gender"].dtype == torch.float32


def test_a_column_that_is_not_there_names_the_nearest(out):
    with pytest.raises(UsageError, match="did you mean 'gender'"):
        ShardDataset(out, columns=["gander"])


def test_missing_labels_are_minus_one_and_nan(out):
    dataset = ShardDataset(out, columns=["skin/tone", "harmonize/noise"])
    assert dataset[0][1]["skin/tone"] == -1
    assert np.isnan(dataset[0][1]["harmonize/noise"])


def test_batched_reads_return_the_same_items_in_the_order_of_the_indices(out):
    dataset = ShardDataset(out, columns=["gender", "w"])
    indices = [29, 0, 13, 13, 12, 11, -1, 5]
    together = dataset.__getitems__(indices)
    assert [plain(item) for item in together] == [plain(dataset[k]) for k in indices]
    assert dataset.__getitems__([]) == []


@pytest.mark.parametrize("index", [COUNT, -COUNT - 1])
def test_an_index_out_of_range_ends_iteration(out, index):
    with pytest.raises(IndexError):
        ShardDataset(out)[index]
    assert sum(1 for _ in ShardDataset(out)) == COUNT


@pytest.mark.parametrize(("workers", "context"), [(0, None), (2, "fork"), (4, "fork")])
def test_a_loader_reads_everything_once_with_any_workers(out, workers, context):
    dataset = ShardDataset(out, columns=["age"], transform=to_size)
    expected = to_size_all(dataset)
    loader = DataLoader(
        dataset,
        batch_size=7,
        num_workers=workers,
        multiprocessing_context=context,
        shuffle=True,
        generator=torch.Generator().manual_seed(0),
    )
    for _ in range(2):
        found = {float(age): image for batch in loader for image, age in zip(batch[0], batch[1]["age"], strict=True)}
        assert set(found) == set(expected)
        assert all(torch.equal(found[age], expected[age]) for age in expected)


def to_size_all(dataset):
    """Read all in this process first, so that workers inherit open files."""
    return {float(labels["age"]): image for image, labels in (dataset[k] for k in range(len(dataset)))}


@pytest.mark.slow
def test_a_spawned_worker_reads_everything_too(out):
    loader = DataLoader(ShardDataset(out, columns=["age"]), 4, num_workers=1, multiprocessing_context="spawn")
    assert sorted(float(age) for _, labels in loader for age in labels["age"]) == [20.0 + k for k in range(COUNT)]


def test_after_pickling_it_opens_its_files_itself(out):
    dataset = ShardDataset(out, columns=["gender", "w"])
    before = plain(dataset[7])
    copy = pickle.loads(pickle.dumps(dataset))
    assert not copy._readers._open
    assert plain(copy[7]) == before
    assert plain(dataset[7]) == before


def test_few_files_are_open_at_a_time(out):
    dataset = ShardDataset(out, columns=["age"], max_open=1)
    assert [float(dataset[k][1]["age"]) for k in (0, 29, 13, 0)] == [20.0, 49.0, 33.0, 20.0]
    assert len(dataset._readers._open) == 1


def test_raw_shards_give_the_same_items(out, tmp_path):
    raw = write_output(tmp_path / "raw", count=COUNT, rows=12, layout="raw", codec="png")
    one, two = ShardDataset(out), ShardDataset(raw)
    assert [plain(one[k]) for k in range(COUNT)] == [plain(two[k]) for k in range(COUNT)]


def test_damaged_shards_are_refused_when_the_data_set_is_created(out, tmp_path):
    folder = shutil.copytree(out, tmp_path / "out")
    path = folder / "shards" / "00001.h5"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=r"00001\.h5 is not the file"):
        ShardDataset(folder)
    assert len(ShardDataset(folder, check=False)) == COUNT
    path.write_bytes(data[:-1])
    with pytest.raises(IntegrityError, match=r"00001\.h5 is not the file"):
        ShardDataset(folder, check=False)
    path.unlink()
    with pytest.raises(IntegrityError, match=r"00001\.h5 cannot be read"):
        ShardDataset(folder)


def test_an_unfinished_run_needs_an_option(tmp_path):
    folder = write_output(tmp_path / "out", count=8, rows=4, finish=False)
    with pytest.raises(UsageError, match="unfinished=True"):
        ShardDataset(folder)
    assert len(ShardDataset(folder, unfinished=True)) == 8


def test_a_folder_without_samples_is_an_empty_data_set(tmp_path):
    dataset = ShardDataset(write_output(tmp_path / "out", count=0))
    assert len(dataset) == 0
    assert list(dataset.table().columns) == ["gender", "skin/tone", "age"]


def test_the_table_names_levels(out):
    table = ShardDataset(out, columns=["age"]).table(["gender", "cell", "skin/tone"])
    assert table["gender"].tolist() == ["female", "male"] * 15
    assert table["cell"].tolist() == [0, 1] * 15
    assert table["skin/tone"].isna().sum() == 8


def test_real_and_synthetic_give_the_same_keys_and_codes(out):
    both = BalancedDataset(face_dataset(), out)
    assert both.table(["synthetic"])["synthetic"].to_numpy().tolist() == both.is_synthetic.astype(int).tolist()
    assert len(both) == 20 + COUNT
    assert both.columns == ("gender", "age", "synthetic")
    assert both.is_synthetic.tolist() == [False] * 20 + [True] * COUNT
    real, made = both[1], both[20 + 13]
    assert real[1] == {"gender": 1, "age": 31.0, "synthetic": 0}
    assert made[1] == {"gender": 1, "age": 33.0, "synthetic": 1}
    assert [type(v) for v in real[1].values()] == [type(v) for v in made[1].values()]
    assert np.array_equal(real[0].permute(1, 2, 0).numpy(), sample(1001).image)
    assert np.array_equal(made[0].permute(1, 2, 0).numpy(), sample(13).image)
    batch = next(iter(DataLoader(both, batch_size=len(both))))
    assert batch[0].shape == (50, 3, 24, 24)
    assert batch[1]["synthetic"].sum() == COUNT


@pytest.mark.parametrize(
    ("share", "real", "made"), [(None, 20, 30), (0.0, 20, 0), (0.25, 20, 7), (0.5, 20, 20), (0.6, 20, 30), (1.0, 0, 30)]
)
def test_the_share_of_synthetic_samples_is_kept(out, share, real, made):
    both = BalancedDataset(face_dataset(), out, share=share)
    assert (int((~both.is_synthetic).sum()), int(both.is_synthetic.sum())) == (real, made)
    assert len(both.table()) == len(both)


def test_an_output_folder_without_samples_adds_none(tmp_path):
    both = BalancedDataset(face_dataset(), write_output(tmp_path / "out", count=0))
    assert len(both) == len(face_dataset()) == len(group_weights(both, by="gender"))
    assert not both.is_synthetic.any()
    assert len(both.table()) == len(both)


@pytest.mark.parametrize(
    ("share", "message"), [(0.61, "at most 0.6000"), (0.9, "180 synthetic"), (-0.1, "0 "), (1.1, "1 ")]
)
def test_a_share_that_cannot_be_reached_is_refused_with_the_largest_possible_one(out, share, message):
    with pytest.raises(UsageError, match=message):
        BalancedDataset(face_dataset(), out, share=share)


def test_fewer_synthetic_samples_come_evenly_from_the_cells_and_by_the_seed(out):
    ages = []
    for seed in (0, 0, 1):
        both = BalancedDataset(face_dataset(), out, share=0.25, seed=seed)
        table = both.table().query("synthetic == 1")
        assert abs((table["gender"] == "male").sum() - 3.5) <= 0.5
        ages.append(table["age"].tolist())
    assert ages[0] == ages[1] != ages[2]
    assert len(set(ages[0])) == 7


def test_labels_with_other_names_and_values_are_mapped(out):
    real = face_dataset().table.rename(columns={"gender": "Male"})
    real["Male"] = [int(value == "male") for value in real["Male"]]
    faces = FaceDataset("celebs", "folder", "memory", real, Images())
    with pytest.raises(UsageError, match="no column 'gender'"):
        BalancedDataset(faces, out, columns=["gender"])
    with pytest.raises(UsageError, match=r"not a level of 'gender' \(female, male\)"):
        BalancedDataset(faces, out, columns=["gender"], label_sources={"gender": LabelSource("Male")})
    source = LabelSource("Male", {0: "female", 1: "male"})
    both = BalancedDataset(faces, out, columns=["gender"], label_sources={"gender": source})
    assert [int(both[k][1]["gender"]) for k in range(5)] == [0, 1, 1, 1, 0]
    with pytest.raises(UsageError, match="label_sources names 'gander'"):
        BalancedDataset(faces, out, columns=["age"], label_sources={"gander": LabelSource("Male")})


def test_data_sets_without_a_common_label_are_refused(out):
    faces = FaceDataset("others", "folder", "memory", pd.DataFrame({"key": ["0"], "hat": ["yes"]}), Images())
    with pytest.raises(UsageError, match="others has none of the labels gender"):
        BalancedDataset(faces, out)


def test_a_label_that_is_a_number_in_one_and_text_in_the_other_is_refused(out):
    with pytest.raises(UsageError, match="'age' is a number"):
        BalancedDataset(face_dataset(age=["old"] * 20), out, columns=["age"])


def test_real_labels_that_are_missing_are_marked_like_synthetic_ones(out):
    both = BalancedDataset(face_dataset(gender=[None, "male"] * 10, age=[np.nan, 3.0] * 10), out)
    assert both[0][1]["gender"] == -1
    assert np.isnan(both[0][1]["age"])
    assert both[0][1]["age"].dtype == np.float32


@pytest.mark.parametrize(("context", "workers"), [("fork", 2), pytest.param("spawn", 1, marks=pytest.mark.slow)])
def test_balanced_data_sets_work_in_workers(out, context, workers):
    both = BalancedDataset(face_dataset(), ShardDataset(out, transform=to_size), share=0.5)
    loader = DataLoader(both, batch_size=6, num_workers=workers, multiprocessing_context=context)
    batches = list(loader)
    assert torch.cat([labels["synthetic"] for _, labels in batches]).tolist() == [0] * 20 + [1] * 20
    assert batches[0][0].shape == (6, 3, 8, 8)


def test_weights_make_groups_equally_likely(out):
    labels = ["a"] * 6 + ["b"] * 2 + [None]
    weights = group_weights(labels)
    assert weights.dtype == torch.float64
    assert torch.allclose(weights, torch.tensor([0.75] * 6 + [2.25] * 2 + [0.0], dtype=torch.float64))
    drawn = list(WeightedRandomSampler(weights, 4000, generator=torch.Generator().manual_seed(0)))
    assert abs(sum(k < 6 for k in drawn) - 2000) < 150
    assert 8 not in drawn


@pytest.mark.parametrize("wrap", [list, np.array, torch.tensor, pd.Series])
def test_weights_of_sequences_of_labels(wrap):
    assert group_weights(wrap([0, 0, 0, 1])).tolist() == pytest.approx([2 / 3] * 3 + [2])


def test_weights_of_tables_and_data_sets(out):
    table = pd.DataFrame({"g": ["a", "a", "b", "b"], "h": [1, 2, 1, 1]})
    expected = [4 / 3, 4 / 3, 2 / 3, 2 / 3]
    assert group_weights(table, by="g,h").tolist() == pytest.approx(expected)
    assert group_weights({"g": list("aabb"), "h": [1, 2, 1, 1]}, by=["g", "h"]).tolist() == pytest.approx(expected)
    both = BalancedDataset(face_dataset(), out)
    weights = group_weights(both, by="gender")
    female = torch.tensor((both.table()["gender"] == "female").tolist())
    assert weights[female].sum().item() == pytest.approx(weights[~female].sum().item())
    assert weights.mean().item() == pytest.approx(1)
    binned = group_weights(ShardDataset(out), by="age:3")
    assert binned.tolist() == pytest.approx([1.0] * COUNT)
    part = Subset(both, list(range(15)))
    assert torch.allclose(group_weights(part, by="gender"), group_weights(both.table()[:15], by="gender"))


def test_weights_need_the_columns_of_the_groups(out):
    with pytest.raises(UsageError, match="name the columns that define a group"):
        group_weights(ShardDataset(out))
    with pytest.raises(UsageError, match="a sequence of labels"):
        group_weights(["a"], by="gender")
    with pytest.raises(UsageError, match="gender"):
        group_weights(ShardDataset(out), by="gander")
