"""How commands end early: one line for a mistake, and for a signal at whatever moment."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from experiments import commands, signals
from experiments.errors import UserError

COMMANDS = ("run", "together", "sweep", "report", "results", "check", "measure", "regimes",
            "doctor")  # fmt: skip


@pytest.mark.parametrize("number", signals.SIGNALS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_during_imports_is_one_line(name, number, tmp_path):
    (tmp_path / "numpy.py").write_text(f"import os\nos.kill(os.getpid(), {int(number)})\n")
    arguments = ["."] * (2 if name == "measure" else name != "run")
    ended = subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *arguments],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (128 + number, f"{signals.LINE}\n")


def test_importing_the_package_leaves_signals_alone():
    handler = "signal.getsignal(signal.SIGINT)"
    code = f"import signal; h = {handler}; import experiments.signals; print({handler} is h)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout == "True\n"


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("no such field"), 2, "error: no such field\n"),
        (FloatingPointError("the loss is nan"), 1, "error: the loss is nan\n"),
        (signals.Interrupted(signal.SIGTERM), 143, f"{signals.LINE}\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, f"{commands.FULL}\n"),
        (ValueError("Failed to write 9 bytes [os_error_code='28']"), 1, f"{commands.FULL}\n"),
    ],
)
def test_what_ends_a_command_is_one_line(error, status, line, capsys):
    @commands.command
    def main(argv):
        raise error

    assert main([]) == status
    assert capsys.readouterr().err == line
