"""Pretrained networks that come as packages, for features of images."""
