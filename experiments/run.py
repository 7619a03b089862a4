"""Run an experiment: ``python -m experiments.run --config configs/ntksap_resnet20.py``."""

import json
import sys

from experiments import cli
from experiments.config import to_dict
from experiments.errors import UserError
from experiments.protocols import PROTOCOLS
from experiments.store import Store


def main(argv: list[str] | None = None) -> int:
    """Parse, then run the protocol unless the run is finished. Returns the exit status."""
    try:
        config, workdir, dry_run = cli.parse(sys.argv[1:] if argv is None else argv)
        store, protocol = Store(workdir, config), PROTOCOLS[config.protocol]
        if dry_run:
            print(f"{json.dumps(to_dict(config), indent=1)}\n{workdir}")
            for line in protocol.costs(config) if protocol.costs else ():
                print(line)
            return 0
        if store.done is not None:
            print(f"{workdir} is finished: {store.done}")
            return 0
        protocol.run(config, store)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
