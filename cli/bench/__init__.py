"""`faceaug bench`: experiments that say whether synthetic faces help."""
