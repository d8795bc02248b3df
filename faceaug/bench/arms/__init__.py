"""The arms of experiments: ways to train on few faces of some groups, without synthesis and with it."""
