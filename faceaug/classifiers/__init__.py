"""Classifiers of attributes, learnt from the data set's own labels: networks, training, calibration, and face quality."""
