"""What is installed and prepared, and what is said of what is not."""

import importlib.metadata
import shutil
import subprocess
import sys

import jax
import pytest

from experiments import doctor

REQUIRES = {
    "ntk_prune": [
        "core>=2",
        "elsewhere; python_version < '3'",
        "one<3,>=1; extra == 'full'",
        "gpu[cuda]; extra == 'gpu'",
    ],
    "gpu": ["driver>=1; extra == 'cuda'", "other; extra == 'tpu'"],
}


@pytest.fixture
def install(monkeypatch):
    """Pretend that these versions are installed, and nothing else."""

    def pretend(**versions):
        def version(name):
            if name not in versions:
                raise importlib.metadata.PackageNotFoundError(name)
            return versions[name]

        def requires(name):
            version(name)
            return REQUIRES.get(name)

        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(importlib.metadata, "requires", requires)
        extras = {"Provides-Extra": ["full", "gpu"]}
        monkeypatch.setattr(
            importlib.metadata, "metadata", lambda _: type("", (), {"get_all": extras.get})
        )

    return pretend


def test_what_is_there_and_what_is_not(install):
    install(ntk_prune="0.1", core="2.1", one="3.0", gpu="1.0")
    assert doctor.installed(None) == (["core 2.1"], [])
    assert doctor.installed("full") == ([], ["one<3,>=1, not 3.0"])
    assert doctor.installed("gpu") == (["gpu 1.0"], ["driver"])


def test_the_page_says_what_to_do(install, tmp_path, monkeypatch, capsys):
    install(ntk_prune="0.1", core="2.1", one="2.0")
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/nvidia-smi")
    prepared = tmp_path / "mnist/3.0.1"
    prepared.mkdir(parents=True)
    (prepared / "dataset_info.json").write_text('{"fileFormat": "array_record"}')
    assert doctor.main(["--data_dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "extra full: one 2.0\n" in out
    assert "extra gpu: missing gpu: pip install -e '.[gpu]'\n" in out
    assert f"{len(jax.devices())} x " in out
    assert ("pip install -e '.[cuda]'" in out) == (jax.default_backend() == "cpu")
    assert f"data mnist: {prepared}\n" in out
    assert f"data cifar10 is not prepared in {tmp_path}/cifar10: run `python -m " in out
    assert doctor.FIRST_RUN in out


def test_without_the_core_the_status_is_1(install, capsys):
    install(ntk_prune="0.1", core="1.9")
    assert doctor.main([]) == 1
    assert "missing: core>=2, not 1.9: pip install" in capsys.readouterr().out
    install(core="2.0")
    assert doctor.main([]) == 1
    assert "ntk_prune is not installed: pip install" in capsys.readouterr().out


def test_no_device_is_a_line(install, monkeypatch, capsys):
    def broken():
        raise RuntimeError("no\ndevice")

    install(ntk_prune="0.1", core="2.1")
    monkeypatch.setattr(jax, "devices", broken)
    assert doctor.main([]) == 0
    assert "JAX finds none (no device)" in capsys.readouterr().out


def test_windows_is_refused_in_one_line():
    code = "import sys; sys.platform = 'win32'; import experiments.store"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: Windows is not supported")
    assert done.stderr.count("\n") == 1
