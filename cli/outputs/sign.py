"""`faceaug sign`: a signature of an output folder with a key of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from ..terminal.console import Console
from ..terminal.paths import PATH


@click.command()
@click.argument("out", metavar="OUT", type=PATH)
@click.option("--key", metavar="FILE", type=PATH, required=True, help="The private key: Ed25519 in PEM.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print neither progress nor remarks.")
def sign(out: Path, key: Path, as_json: bool, quiet: bool) -> None:
    """Sign a finished output folder, so that others can tell that nobody has changed it since.

    The folder is verified first. The signature, manifest.sig, covers every file that the manifest lists; the report,
    which can be written anew, is not among them. Needs the extra faceaug[sign].

    \b
    Example:
      openssl genpkey -algorithm ed25519 -out key.pem
      openssl pkey -in key.pem -pubout -out public.pem
      faceaug sign out/ --key key.pem
      faceaug verify out/ --key public.pem
    """
    from faceaug.shards.description.signature import SIGNATURE_NAME
    from faceaug.shards.verify import sign_output

    console = Console(as_json=as_json, quiet=quiet)
    with console.counter("verifying", "sample") as progress:
        sign_output(out, key, progress)
    signature = out / SIGNATURE_NAME
    console.show(f"signed: {signature}", {"signature": str(signature)})
