"""`python -m faceaug.cli` does what `faceaug` does."""

from .main import main

if __name__ == "__main__":
    main()
