"""One thread: on tensors as small as those of tests more cost more than they give, and some processors have two."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and numpy are imported; also for processes that tests start
