"""What production may get, by what GitHub and the registry say: `python -m deploy.pipeline plan|head`.

    plan    print `PART=IMAGE@DIGEST` for each part that may be rolled out now; on standard error why others may not
    head    fail unless the commit that is checked out is the head of main

Nothing is rolled out unless everything together has passed on the head of main (workflow `whole`). Then a part may be
if the newest run of its own workflow on main passed, which tested it, built and signed its image and rolled that out on
staging; its image is that run's, and its signature is looked at once more. Runs on the standard library alone; asks
with `gh`, `docker` and `cosign`, all of which a runner has or is given.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

PARTS: Final = {"proxy": "proxy", "aggregator": "aggregator", "wsrelay": "wsrelay", "origin": "frontend"}
"""The workflow that tests and builds each part, in the order of their roll-out."""
OWN_EVENTS: Final = frozenset({"push", "workflow_dispatch"})
"""What starts a run of main's own code. A fork may call its branch main as well; its runs are of pull requests."""
ISSUER: Final = "https://token.actions.githubusercontent.com"
Run = Callable[[Sequence[str]], str]


class PipelineError(Exception):
    """A question had no answer, or an image no signature of ours; the text says which."""


class RefusedError(PipelineError):
    """The answers forbid to go on with this commit; another one, or a later run, may."""


class Verdict(NamedTuple):
    """The commit whose image a part may run, or the reason why there is none."""

    commit: str
    reason: str


def verdict(runs: Sequence[Mapping[str, Any]], commit: str = "") -> Verdict:
    """Judge a workflow by its newest run on main, or by its newest one for a commit.

    Args:
        runs: of one workflow, the newest first, as GitHub's API has them.
        commit: the only one that counts, if any does.
    """
    own = [run for run in runs if run["event"] in OWN_EVENTS and run["head_branch"] == "main"]
    found = next((run for run in own if commit in ("", run["head_sha"])), None)
    if found is None:
        return Verdict("", "has not run")
    if found["status"] != "completed":
        return Verdict("", "is still running")
    if found["conclusion"] != "success":
        return Verdict("", f"ended with {found['conclusion']}")
    return Verdict(found["head_sha"], "")


def run_command(command: Sequence[str]) -> str:
    """Return what a command prints; raise PipelineError with what it says if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603  commands of this module
    if done.returncode:
        raise PipelineError(f"{' '.join(command[:3])}: {done.stderr.strip()}")
    return done.stdout


class Pipeline:
    """Asks GitHub about a repository and the registry about its images.

    Args:
        repository: `OWNER/NAME`.
        images: what goes before `/bff-PART`; capitals of an owner's name become small letters, as registries want.
        run: how commands are run.
    """

    def __init__(self, repository: str, images: str, run: Run = run_command) -> None:
        self._repository = repository
        self._images = images.lower()
        self._run = run

    def require_head(self, commit: str) -> None:
        """Raise RefusedError unless the commit is the head of main."""
        head = self._run(["gh", "api", f"repos/{self._repository}/commits/main", "--jq", ".sha"]).strip()
        if head != commit:
            raise RefusedError(f"{commit} is not the head of main, {head} is")

    def plan(self, commit: str) -> tuple[dict[str, str], list[str]]:
        """Return the image of each part that may be rolled out, and why the others may not.

        Raises:
            RefusedError: nothing may be.
            PipelineError: a question had no answer, or an image no signature of ours.
        """
        self.require_head(commit)
        whole = verdict(self._runs("whole"), commit)
        if whole.reason:
            raise RefusedError(f"whole {whole.reason} on {commit}")
        images, reasons = {}, []
        for part, workflow in PARTS.items():
            built = verdict(self._runs(workflow))
            if built.reason:
                reasons.append(f"{part}: {workflow} {built.reason}")
            else:
                images[part] = self.image(part, built.commit)
        return images, reasons

    def is_built(self, part: str, commit: str) -> bool:
        """Tell whether the registry has an image of a part that was built of a commit."""
        try:
            self._digest(part, commit)
        except PipelineError:
            return False
        return True

    def image(self, part: str, commit: str) -> str:
        """Return a part's image of a commit by its digest.

        Raises:
            PipelineError: there is none, or it has no signature of this repository's workflow on main.
        """
        image = f"{self._images}/bff-{part}@{self._digest(part, commit)}"
        signer = f"https://github.com/{self._repository}/.github/workflows/image.yml@refs/heads/main"
        identity = ["--certificate-oidc-issuer", ISSUER, "--certificate-identity-regexp", f"^{re.escape(signer)}$"]
        self._run(["cosign", "verify", *identity, image])
        return image

    def _runs(self, workflow: str) -> list[dict[str, Any]]:
        path = f"repos/{self._repository}/actions/workflows/{workflow}.yml/runs?branch=main&per_page=50"
        runs: list[dict[str, Any]] = json.loads(self._run(["gh", "api", path]))["workflow_runs"]
        return runs

    def _digest(self, part: str, commit: str) -> str:
        tag = f"{self._images}/bff-{part}:{commit}"
        found = self._run(["docker", "buildx", "imagetools", "inspect", tag, "--format", "{{json .Manifest}}"])
        return str(json.loads(found)["digest"])


def main(words: Sequence[str], environment: Mapping[str, str], run: Run = run_command) -> int:
    """Do what the command line says; a refusal or failure is one line on standard error.

    For `plan` a refusal is exit status 0: another run comes when that has changed.
    """
    pipeline = Pipeline(environment["GITHUB_REPOSITORY"], environment.get("IMAGES", ""), run)
    commit = environment["GITHUB_SHA"]
    try:
        if words == ["head"]:
            pipeline.require_head(commit)
            return 0
        images, reasons = pipeline.plan(commit)
    except PipelineError as error:
        is_refusal = isinstance(error, RefusedError)
        sys.stderr.write(f"{'refused' if is_refusal else 'error'}: {error}\n")
        return 0 if is_refusal and words != ["head"] else 1
    sys.stderr.write("".join(f"not {reason}\n" for reason in reasons))
    print("".join(f"{part}={image}\n" for part, image in images.items()), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
