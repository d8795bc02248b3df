"""`faceaug generator`: what is known of a generator."""

from __future__ import annotations

import click

from .console import Console


@click.group(short_help="Tell what a generator is and where it comes from.")
def generator() -> None:
    """Look at generators, the networks that draw faces.

    \b
    Example:
      faceaug generator info embedded
    """


@generator.command()
@click.argument("name", metavar="NAME", default="embedded")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def info(name: str, as_json: bool) -> None:
    """Tell what a generator is, where it comes from and under which licence.

    NAME is embedded, digiface, one that another package registers, or a .safetensors file.

    \b
    Example:
      faceaug generator info digiface
    """
    from faceaug.generators import load_generator

    found = load_generator(name)
    facts = {
        "name": found.name,
        "resolution": found.resolution,
        "z_dim": found.z_dim,
        "w_dim": found.w_dim,
        "licence": found.licence,
        "origin": found.origin,
        "sha256": found.sha256,
    }
    width = max(map(len, facts))
    Console(as_json=as_json).show("\n".join(f"{key.ljust(width)}  {value}" for key, value in facts.items()), facts)
