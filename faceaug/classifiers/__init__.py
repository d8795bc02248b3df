"""Classifiers of attributes, trained on the data set's own labels, calibrated; and a classifier of face quality."""
