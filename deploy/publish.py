"""Make a release of a tag: `python -m deploy.publish PART-VERSION`, where GitHub runs it for the tag's commit.

Waits for the image that main builds of that commit, looks at its signature, gives it the version as a second name, and
creates the release: the changelog's section as its text, the image's bill of materials (SPDX) as its file. Runs on the
standard library alone, with `docker`, `cosign` and `gh`.
"""

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.pipeline import Pipeline, PipelineError, Run, run_command
from deploy.release import CHANGELOG, PARTS, ROOT, places, present

WAIT_SECONDS: Final = 45 * 60.0
"""For the part's workflow, which tests before it builds."""
PAUSE_SECONDS: Final = 30.0


def split(tag: str, root: Path) -> tuple[str, str]:
    """Return the part and the version of a tag; raise PipelineError unless that part has that version here."""
    part, _, version = tag.partition("-")
    if part not in PARTS:
        raise PipelineError(f"{tag!r} is no tag of a release")
    declared = present(part, {path: (root / path).read_text() for path in places(part)})
    if declared != version:
        raise PipelineError(f"the tag says {version}, the code {declared}")
    return part, version


def notes(part: str, version: str, changelog: str) -> str:
    """Return the text of the version's section; raise PipelineError if there is none."""
    title = re.escape(version if part == "origin" else f"{part} {version}")
    found = re.search(rf"^## {title}, \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if found is None:
        raise PipelineError(f"{CHANGELOG} has no section of {part} {version}")
    return found[1].strip() + "\n"


def publish(
    tag: str,
    environment: Mapping[str, str],
    root: Path = ROOT,
    run: Run = run_command,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Make the release; return the image by its digest.

    Raises:
        PipelineError: it cannot be made; the text says why.
    """
    part, version = split(tag, root)
    text = notes(part, version, (root / CHANGELOG).read_text())
    pipeline = Pipeline(environment["GITHUB_REPOSITORY"], environment["IMAGES"], run)
    for _ in range(int(WAIT_SECONDS // PAUSE_SECONDS)):
        if pipeline.is_built(part, environment["GITHUB_SHA"]):
            break
        sleep(PAUSE_SECONDS)
    image = pipeline.image(part, environment["GITHUB_SHA"])
    name = image.partition("@")[0]
    sbom = run(["docker", "buildx", "imagetools", "inspect", image, "--format", "{{json .SBOM.SPDX}}"])
    run(["docker", "buildx", "imagetools", "create", "--tag", f"{name}:{version}", image])
    with tempfile.TemporaryDirectory() as folder:
        told, bill = Path(folder) / "notes.md", Path(folder) / f"{tag}.spdx.json"
        told.write_text(f"{text}\n`{image}`\n")
        bill.write_text(sbom)
        run(["gh", "release", "create", tag, str(bill), "--verify-tag", "--title", tag, "--notes-file", str(told)])
    return image


def main(words: Sequence[str]) -> int:
    """Publish the tag of the command line; a failure is one line on standard error."""
    try:
        (tag,) = words
        print(publish(tag, os.environ))
    except (PipelineError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
