"""Print the lower bounds of pyproject.toml as exact requirements, for pip."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
named = set(sys.argv[1:])
extra = [
    requirement
    for requirement in project["optional-dependencies"]["test"]
    if requirement.split(">=")[0] in named
]
for requirement in [*project["dependencies"], *extra]:
    print(requirement.partition(";")[0].replace(">=", "=="))
