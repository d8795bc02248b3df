import numpy as np
import pandas as pd
import pytest
import torch

from faceaug.datasets import FaceDataset, RealImageDataset
from faceaug.errors import UsageError
from faceaug.utils import images


class Images:
    def read(self, key):
        return images.encode(np.full((4, 6, 3), int(key), np.uint8), "png")


def face_dataset(**columns):
    count = len(next(iter(columns.values())))
    return FaceDataset(
        "faces", "folder", "memory", pd.DataFrame({"key": list(map(str, range(count))), **columns}), Images()
    )


def test_levels_are_found_and_sorted_and_numbers_stay_numbers():
    dataset = RealImageDataset(face_dataset(gender=["male", "female", None], age=[3, 4, 5]))
    assert dataset.levels == {"gender": ("female", "male")}
    assert dataset.columns == ("gender", "age")
    image, labels = dataset[1]
    assert image.shape == (3, 4, 6)
    assert torch.all(image == 1)
    assert labels == {"gender": 0, "age": 4.0}
    assert [int(dataset[k][1]["gender"]) for k in range(3)] == [1, 0, -1]
    assert len(dataset) == 3


def test_given_levels_set_the_codes():
    dataset = RealImageDataset(face_dataset(gender=["b", "a"]), levels={"gender": ("c", "b", "a"), "other": ("x",)})
    assert [int(dataset[k][1]["gender"]) for k in range(2)] == [1, 2]
    assert dataset.levels == {"gender": ("c", "b", "a")}


def test_numbers_become_levels_when_levels_are_given():
    dataset = RealImageDataset(face_dataset(glasses=[1.0, 0.0, np.nan]), levels={"glasses": ("0", "1")})
    assert [int(dataset[k][1]["glasses"]) for k in range(3)] == [1, 0, -1]


def test_an_unknown_level_is_refused_with_the_remedy():
    with pytest.raises(UsageError, match=r"not a level of 'gender' \(a\); map it with LabelSource\(values"):
        RealImageDataset(face_dataset(gender=["a", "x"]), levels={"gender": ("a",)})


@pytest.mark.parametrize("columns", [["gander"], ["key"], ["split"]])
def test_a_column_that_is_not_there_is_refused(columns):
    with pytest.raises(UsageError, match="no column"):
        RealImageDataset(face_dataset(gender=["a", "x"], split=["train", "val"]), columns=columns)


def test_the_transform_gets_a_pil_image():
    image, _ = RealImageDataset(face_dataset(gender=["a", "x"]), transform=lambda picture: picture.size)[0]
    assert image == (6, 4)


def test_the_table_names_levels_and_refuses_what_is_no_label():
    dataset = RealImageDataset(face_dataset(gender=["a", None], age=[1, 2]), columns=["gender"])
    assert dataset.table()["gender"].tolist()[0] == "a"
    assert dataset.table()["gender"].isna().tolist() == [False, True]
    with pytest.raises(UsageError, match="no label 'age'"):
        dataset.table(["age"])


def test_negative_and_several_indices():
    dataset = RealImageDataset(face_dataset(age=[1, 2, 3]))
    assert dataset[-1][1]["age"] == 3
    assert [float(labels["age"]) for _, labels in dataset.__getitems__([2, 0])] == [3.0, 1.0]
    with pytest.raises(IndexError):
        dataset[3]
