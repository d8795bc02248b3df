"""One thread: on tensors as small as those of tests more cost more than they give, and some processors have two.

Nothing is cached, unless a test names a folder of its own: no test reads or writes the cache of the user.
"""

import os

# Before torch and numpy are imported; processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["FACEAUG_CACHE"] = "off"
