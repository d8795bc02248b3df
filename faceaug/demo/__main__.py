"""`python -m faceaug.demo` prints the folder of the demo data set, for the command line."""

from faceaug.demo import path

if __name__ == "__main__":
    print(path())
