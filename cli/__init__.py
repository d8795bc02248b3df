"""The command line: `faceaug COMMAND`. Installed as `faceaug.cli`."""
