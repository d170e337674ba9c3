"""An environment with a wheel and, of everything else, only the packages that the wheel says it needs.

    python tests/empty_environment.py WHEEL FOLDER

The wheel is installed by pip. What it needs, and what that needs in turn, are links to what is installed where this
script runs, so that nothing is downloaded. A package that is imported but not declared is therefore missing there.
"""

import sys
import sysconfig
import venv
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from subprocess import run
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(requirements: list[str], extras: tuple[str, ...] = ("",)) -> dict[str, Distribution]:
    """The installed distributions that requirements name, and all that these need. Exits for one that is missing."""
    found: dict[str, Distribution] = {}
    left = [(Requirement(text), extras) for text in requirements]
    asked: set[tuple[str, str]] = set()
    while left:
        requirement, extras = left.pop()
        if requirement.marker is not None and not any(requirement.marker.evaluate({"extra": each}) for each in extras):
            continue
        name = canonicalize_name(requirement.name)
        try:
            found[name] = distribution(requirement.name)
        except PackageNotFoundError:
            sys.exit(f"{requirement} is needed, but not installed here")
        if not requirement.specifier.contains(found[name].version, prereleases=True):
            sys.exit(f"{requirement} is needed, but {found[name].version} is installed here")
        for extra in ("", *requirement.extras):
            if (name, extra) not in asked:
                asked.add((name, extra))
                left += [(Requirement(text), (extra,)) for text in found[name].requires or ()]
    return found


def requirements_of(wheel: Path) -> list[str]:
    """What the metadata of a wheel say that it needs."""
    with ZipFile(wheel) as archive:
        name = next(each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().partition("\n\n")[0].splitlines()
    return [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]


def link(found: Distribution, site: Path) -> None:
    """Link the folders and files of a distribution into another environment's site-packages; no scripts."""
    tops = {path.parts[0] for path in found.files or () if path.parts[0] not in ("..", "__pycache__")}
    home = Path(str(found.locate_file("")))
    for top in tops:
        place = site / top
        if not place.exists() and (home / top).exists():
            place.symlink_to(home / top)


if __name__ == "__main__":
    wheel, folder = Path(sys.argv[1]), Path(sys.argv[2])
    venv.create(folder, clear=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    for each in needed(requirements_of(wheel)).values():
        link(each, site)
    install = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "--quiet"]
    run([*install, "--disable-pip-version-check", "--no-index", "--no-deps", str(wheel)], check=True)
    listed = sorted(path.name for path in site.glob("*.dist-info"))
    print(f"{folder}: {len(listed)} packages, none but what {wheel.name} needs")
