"""`faceaug recipes`: the recipes that come with faceaug."""
