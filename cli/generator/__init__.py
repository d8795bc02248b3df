"""`faceaug generator`: inspect, sample, import, train and evaluate generators."""
