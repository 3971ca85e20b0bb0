"""Write the table of settings into docs/settings.md, or check it: `python docs/settings_table.py [--check]`."""

import sys
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from bff_aggregator.settings import AggregatorSettings
from bff_proxy.settings import ProxySettings
from bff_shared.settings import PREFIX, AccessSettings, Settings
from bff_wsrelay.settings import RelaySettings

DOCUMENT = Path(__file__).parent / "settings.md"
BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->"
SERVICES: dict[str, type[Settings]] = {
    "proxy": ProxySettings,
    "aggregator": AggregatorSettings,
    "wsrelay": RelaySettings,
}


def default(field: FieldInfo) -> str:
    """Return a default as one would write it in the environment."""
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    if isinstance(value, tuple):
        value = ",".join(str(part) for part in value)
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`" if value != "" else "empty"


def row(name: str, field: FieldInfo, where: str) -> str:
    """Return one row; every setting has a description, or this raises."""
    if not field.description:
        raise SystemExit(f"{PREFIX}{name.upper()} has no description")
    return f"| `{PREFIX}{name.upper()}` | {default(field)} | {where} | {field.description} |"


def table() -> str:
    """Return the table: the common settings first, then each service's own."""
    lines = ["| variable | default | read by | meaning |", "|---|---|---|---|"]
    common = dict(Settings.model_fields)
    ports = ", ".join(f"`{kind.model_fields['port'].default}`" for kind in SERVICES.values())
    for name, field in common.items():
        line = row(name, field, "all")
        lines.append(line.replace(f"| {default(field)} |", f"| {ports} |", 1) if name == "port" else line)
    access = {name: field for name, field in AccessSettings.model_fields.items() if name not in common}
    keepers = ", ".join(service for service, kind in SERVICES.items() if issubclass(kind, AccessSettings))
    lines += [row(name, field, keepers) for name, field in access.items()]
    shown = common.keys() | access.keys()
    for service, kind in SERVICES.items():
        lines += [row(name, field, service) for name, field in kind.model_fields.items() if name not in shown]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the table into the document; with `--check` only tell whether it is up to date."""
    text = DOCUMENT.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    updated = text[:begin] + table() + text[end:]
    if "--check" not in sys.argv[1:]:
        DOCUMENT.write_text(updated)
    elif updated != text:
        print("docs/settings.md: the table of settings is out of date; run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
