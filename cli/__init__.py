"""The command line `faceaug COMMAND`, installed as the package `faceaug.cli`."""
