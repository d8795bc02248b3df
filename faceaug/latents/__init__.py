"""Semantics of faces as directions in the latents of a generator, and their algebra.

`read_directions` reads the file that a discovery writes. `select` keeps some of its semantics, `combine` adds a
weighted sum of them, `invert` changes the sign of one, `orthogonalize` makes one uncorrelated with others, and `edit`
moves latents until semantics have given values. In this example two semantics of three latents replace such a file:

>>> import numpy as np
>>> from faceaug.latents import Directions, combine, edit, invert, orthogonalize, select
>>> directions = Directions(
...     names=("yaw", "smile"), kinds=("view", "attribute"), units=("degrees", "points"),
...     B=np.array([[10.0, 0, 0], [1, 2, 0]]), offset=np.array([0.0, 5]), spread=np.array([10.0, 3]),
...     r2=np.array([1.0, 0.5]), w_mean=np.zeros(3), covariance=np.eye(3), generator="",
... )

Both faces get a smile of 7 and keep their yaw:

>>> w = np.array([[0.0, 0, 0], [2, 1, 1]])
>>> directions.predict(edit(directions, w, {"smile": 7}, keep=["yaw"])).round(6).tolist()
[[0.0, 7.0], [20.0, 7.0]]

A smile that is uncorrelated with yaw, and its opposite:

>>> orthogonalize(directions, "smile", ["yaw"]).B[1].round(6).tolist()
[0.0, 2.0, 0.0]
>>> invert(directions, ["smile"]).predict(w)[:, 1].tolist()
[-5.0, -9.0]

A semantic that combines others, alone:

>>> both = combine(directions, "lively", {"smile": 2, "yaw": -0.1})
>>> select(both, ["lively"]).B.round(6).tolist()
[[1.0, 4.0, 0.0]]
"""

from faceaug.latents.algebra import combine, edit, invert, orthogonalize, select
from faceaug.latents.directions import Directions, read_directions

__all__ = ["Directions", "combine", "edit", "invert", "orthogonalize", "read_directions", "select"]
