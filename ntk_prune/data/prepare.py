"""Download a set and write it as array_record: the one step that needs TensorFlow, done once.

``python -m ntk_prune.data.prepare cifar10 --data_dir DIR [--manual_dir DIR]``

Without a network, put the original archives into the manual folder; their checksums are verified.
"""

import argparse
import importlib.util
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ntk_prune.data.tfds import ARCHIVES, datasets_library, default_dir

TIMEOUT = 10.0
"""Seconds for which a host may stay silent."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line as ``name``, ``data_dir`` and ``manual_dir``."""
    parser = argparse.ArgumentParser(prog="python -m ntk_prune.data.prepare")
    parser.add_argument("name", choices=sorted(ARCHIVES), help="the set to prepare")
    parser.add_argument("--data_dir", type=Path, default=default_dir(), help="where to write it")
    parser.add_argument("--manual_dir", type=Path, help="folder of the original archives")
    return parser.parse_args(argv)


def check_archives(name: str, manual_dir: Path) -> None:
    """Raise FileNotFoundError naming every original archive that ``manual_dir`` lacks."""
    missing = [file for file in ARCHIVES[name] if not (manual_dir / file).is_file()]
    if missing:
        raise FileNotFoundError(f"{manual_dir} lacks {', '.join(missing)}")


def check_reachable(urls: Iterable[str]) -> None:
    """Raise ConnectionError for a host that does not answer; a download would try it for minutes.

    Any answer will do: some hosts refuse to say anything of a file before it is asked for.
    """
    for host, url in {urlsplit(url).hostname: url for url in urls}.items():
        try:
            urllib.request.urlopen(
                urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT
            ).close()
        except urllib.error.HTTPError:
            continue
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise ConnectionError(f"{host} cannot be reached: {reason}") from None


def prepare(name: str, data_dir: Path, manual_dir: Path | None = None) -> Path:
    """Write ``name`` under ``data_dir`` and return its folder.

    Raises ImportError without TensorFlow or TensorFlow Datasets, FileNotFoundError for missing
    archives, ConnectionError without a network, and whatever TensorFlow Datasets raises when a
    download fails or a checksum is wrong.
    """
    if manual_dir is not None:
        check_archives(name, manual_dir)
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportError("preparing needs TensorFlow once: pip install tensorflow-cpu")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    tensorflow_datasets = datasets_library()
    builder = tensorflow_datasets.builder(name, data_dir=data_dir, file_format="array_record")
    if manual_dir is None and not builder.is_prepared():
        check_reachable(builder.url_infos)
    builder.download_and_prepare(
        download_config=tensorflow_datasets.download.DownloadConfig(manual_dir=manual_dir)
    )
    return Path(builder.data_path)


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare as the command line says; exit status 2 and one line when that fails."""
    args = parse(argv)
    try:
        folder = prepare(args.name, args.data_dir, args.manual_dir)
    except Exception as error:  # a download fails in many ways; each is one line here
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and args.manual_dir is None:
            reason += f"; without a network pass --manual_dir with {', '.join(ARCHIVES[args.name])}"
        print(f"cannot prepare {args.name}: {reason}", file=sys.stderr)
        return 2
    print(f"{args.name} is prepared in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
