"""Identity: whether a synthetic face shows a new person or a person of the data set.

>>> from faceaug.identity import IdentityReference, load_embedder
>>> reference = IdentityReference.build(dataset, load_embedder())  # doctest: +SKIP
>>> row, distance = reference.nearest(reference.embedder.embed(images))  # doctest: +SKIP
"""

from faceaug.identity.base import FaceEmbedder as FaceEmbedder
from faceaug.identity.base import SamePerson as SamePerson
from faceaug.identity.comparison import IdentityComparison as IdentityComparison
from faceaug.identity.comparison import is_new_person as is_new_person
from faceaug.identity.reference import IdentityReference as IdentityReference
from faceaug.identity.registry import load_embedder as load_embedder
from faceaug.identity.stand_in import ClassifierFeatures as ClassifierFeatures
