"""``python -m epymarl_lmac.settings write``: brings the files that follow from the settings up to date."""

from __future__ import annotations

import argparse
import sys

from epymarl_lmac.errors import UserError
from epymarl_lmac.record.screen import console_error
from epymarl_lmac.settings import write


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m epymarl_lmac.settings", description=__doc__)
    parser.add_argument("command", choices=["write"], help="writes config/default.yaml and docs/settings.md")
    parser.parse_args()
    try:
        for path, content in write.targets().items():
            path.write_text(content, encoding="utf-8")
            print(f"written: {path}")
    except UserError as err:
        console_error(str(err))
        return err.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
