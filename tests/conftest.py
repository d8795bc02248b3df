"""One thread: on tensors as small as those of tests more cost more than they give, and some processors have two."""

import os

# Before torch and numpy are imported; processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
