"""`modality-synthesis recipes ...` and `sample`: what ships for training and trying, wherever it was installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modality_synthesis import cli_checks
from modality_synthesis.cli_session import command, need, result
from modality_synthesis.console import write_json_line

recipes_app = typer.Typer(help="The shipped training recipes: list, show, copy; and all keys a recipe may have.",
                          no_args_is_help=True, rich_markup_mode=None)  # fmt: skip

NameArgument = Annotated[str, typer.Argument(help="Of a shipped recipe, drunet/34-mse-T1w for example.")]


@recipes_app.command("list", epilog="Example: modality-synthesis recipes list")
def recipes_list(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """List the shipped recipes."""
    with command("none"):
        need("yaml", extra="train")
        from modality_synthesis.training.catalog import shipped_recipes

        found = shipped_recipes()
        if as_json:
            facts = ("name", "route", "generator", "about")
            recipes = [{name: getattr(one, name) for name in facts} | {"file": str(one.path)} for one in found]
            write_json_line({"recipes": recipes})
            return
        for one in found:
            print(f"{one.name:<36} {one.route:<18} {one.generator:<14} {one.about}")


@recipes_app.command("show", epilog="Example: modality-synthesis recipes show demo-t1w-fdg")
def recipes_show(
    name: NameArgument,
    whole: Annotated[bool, typer.Option("--whole", help="Merged with the recipes that it builds on.")] = False,
) -> None:
    """Print a recipe (YAML)."""
    with command("none"):
        need("yaml", extra="train")
        from modality_synthesis.training.catalog import recipe_text

        print(recipe_text(name, whole=whole), end="")


@recipes_app.command("copy", epilog="Example: modality-synthesis recipes copy demo-t1w-fdg -o my-recipes")
def recipes_copy(
    name: NameArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to copy it to, with what it builds on.")],
) -> None:
    """Copy a recipe, to change it and train with it."""
    with command("none") as reporter:
        need("yaml", extra="train")
        cli_checks.output_folder(output)
        from modality_synthesis.training.catalog import copy_recipe

        result(reporter, {"recipe": copy_recipe(name, output)})


@recipes_app.command("keys", epilog="Example: modality-synthesis recipes keys losses")
def recipes_keys(
    topic: Annotated[str | None, typer.Argument(metavar="[keys|steps|generators|losses]", help="Default all.")] = None,
) -> None:
    """Print all keys of a recipe, preprocessing steps, generators and losses with their parameters (Markdown)."""
    with command("none"):
        if topic is not None:
            cli_checks.one_of("topic", topic, ("keys", "steps", "generators", "losses"))
        need("yaml", extra="train")
        from modality_synthesis.training.keys import keys_text

        print(keys_text(topic), end="")


def sample(
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write (.nii.gz).")] = Path(
        "sub-forrest_T1w.nii.gz"
    ),
) -> None:
    """Copy the shipped sample: a real, defaced T1w head, to try the program with."""
    with command("none") as reporter:
        cli_checks.outputs([output], [".nii.gz"])
        if output.exists():
            raise cli_checks.already_there(output)
        from modality_synthesis.resources import resource
        from modality_synthesis.volumes import atomic_output, check_writable

        check_writable(output)
        content = resource("SampleData", "sub-forrest_T1w.nii.gz").read_bytes()
        with atomic_output(output) as temporary:
            temporary.write_bytes(content)
        result(reporter, {"sample": output})
