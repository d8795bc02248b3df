"""Fixtures of the tests of the explorer."""

from explorers import address as address
from explorers import demo_cells as demo_cells
from explorers import demo_files as demo_files
from explorers import editor as editor
from explorers import generated as generated
from explorers import save_folder as save_folder
