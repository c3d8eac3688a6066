"""`lambda-dispatch router --help`, from the table of options."""

from lambda_dispatch.config.effective import show
from lambda_dispatch.config.options import OPTIONS, default_of, flag_of


def help_text() -> str:
    lines = [
        "usage: lambda-dispatch router [--check | --print-config [--json]] [OPTIONS]",
        "",
        "Every option is also an environment variable, and a key of the file that --config names. The flag wins over",
        "the environment, the environment over the file. --check prints what is in effect and looks for AWS's",
        "credentials; --print-config prints it as such a file, or as JSON. Both name the source of each value.",
        "",
    ]
    for attribute, opt in OPTIONS.items():
        default = show(default_of(attribute))
        value = "[=true|false]" if opt.kind.boolean else " VALUE"
        lines.append(f"  {flag_of(attribute)}{value}")
        lines.append(f"      {opt.help}. {opt.kind.allowed[:1].upper()}{opt.kind.allowed[1:]}. Default: {default}.")
        lines.append(f"      {opt.variable}")
    return "\n".join(lines) + "\n"
