"""The generator that faceaug uses when none is named; its model card is README.md in this folder.

At present it is `digiface`: faceaug ships no weights of its own.
"""

from faceaug.generators.dcgan import load

__all__ = ["load"]
