"""Semantics of faces as directions along a generator's latents: found, read back, and reckoned with.

`read_directions` reads the file that a discovery leaves. `select` keeps some of its semantics, `combine` adds a
weighted sum of them, `invert` turns one round, `orthogonalise` frees one of what others say, and `edit` moves latents
until semantics have the values that are asked for. Here two semantics of three latents stand in for such a file:

>>> import numpy as np
>>> from faceaug.latents import Directions, combine, edit, invert, orthogonalise, select
>>> found = Directions(
...     names=("yaw", "smile"), kinds=("view", "attribute"), units=("degrees", "points"),
...     B=np.array([[10.0, 0, 0], [1, 2, 0]]), offset=np.array([0.0, 5]), spread=np.array([10.0, 3]),
...     r2=np.array([1.0, 0.5]), w_mean=np.zeros(3), covariance=np.eye(3), generator="",
... )

Both faces smile at 7, and look where they looked before:

>>> w = np.array([[0.0, 0, 0], [2, 1, 1]])
>>> found.predict(edit(found, w, {"smile": 7}, keep=["yaw"])).round(6).tolist()
[[0.0, 7.0], [20.0, 7.0]]

A smile that has nothing to do with where the face looks, and one that is a frown:

>>> orthogonalise(found, "smile", ["yaw"]).B[1].round(6).tolist()
[0.0, 2.0, 0.0]
>>> invert(found, ["smile"]).predict(w)[:, 1].tolist()
[-5.0, -9.0]

A semantic made of others, alone:

>>> both = combine(found, "lively", {"smile": 2, "yaw": -0.1})
>>> select(both, ["lively"]).B.round(6).tolist()
[[1.0, 4.0, 0.0]]
"""

from faceaug.latents.algebra import combine, edit, invert, orthogonalise, select
from faceaug.latents.directions import Directions, read_directions

__all__ = ["Directions", "combine", "edit", "invert", "orthogonalise", "read_directions", "select"]
