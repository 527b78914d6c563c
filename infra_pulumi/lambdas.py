"""Builds the two Lambdas' packages: build/consumidor_search.zip and build/consumidor_feed.zip.

    python infra_pulumi/lambdas.py [--arch arm64|x86_64] [--to build]

Each holds what its handler imports and no more: the modules of `consumidor` that are loaded, and one small library. boto3 is the
runtime's own, and loaded by the feed alone, for dead letters. The one compiled module comes for the Lambda runtime's Python and for
this one, whose names differ, so that what is deployed is what was tested. The same sources give the same bytes, so that an unchanged
function is not deployed again.
"""

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ("msgspec",)
HANDLERS = {"consumidor_search": ("consumidor.events.search",), "consumidor_feed": ("consumidor.events.feed", "consumidor.aws")}
PLATFORMS = {"arm64": "aarch64", "x86_64": "x86_64"}
MACHINE = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
RUNTIME = "3.13"  # of the Lambdas, as function.py names it
PYTHONS = sorted({RUNTIME, HERE})
_LIST_MODULES = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*(name for name in sys.modules if name.split(".")[0] == "consumidor"))
"""
_UNREAD_FILES = ("*.pyi", "py.typed", "*.dist-info", "bin")


def build(arch: str, target: Path) -> list[Path]:
    """Both zips for an architecture; each handler is imported from its zip where this machine is of it."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        libraries = Path(scratch) / "libraries"
        for python in PYTHONS:
            install(libraries, arch, python)
        archives = []
        for name, modules in HANDLERS.items():
            own = Path(scratch) / name
            copy_modules(own, modules)
            compile_modules(libraries, own)
            archives.append(pack(target / f"{name}.zip", libraries, own))
    if arch == MACHINE:
        for archive, modules in zip(archives, HANDLERS.values(), strict=True):
            check(archive, modules[0])
    return archives


def install(folder: Path, arch: str, python: str) -> None:
    """The libraries, as wheels for the Lambda's platform and a Python, in the versions of constraints.txt."""
    wheels = ("--only-binary=:all:", f"--platform=manylinux2014_{PLATFORMS[arch]}", "--implementation=cp", f"--python-version={python}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    with tempfile.TemporaryDirectory() as fresh:
        subprocess.run([*pip, f"--target={fresh}", *wheels, f"--constraint={ROOT / 'constraints.txt'}", *REQUIREMENTS], check=True)
        for pattern in _UNREAD_FILES:
            for path in list(Path(fresh).rglob(pattern)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(fresh, folder, dirs_exist_ok=True)


def copy_modules(folder: Path, entries: tuple[str, ...]) -> None:
    """Those modules of consumidor that importing `entries` loads, asked of Python itself."""
    listed = subprocess.run([sys.executable, "-c", _LIST_MODULES, *entries], cwd=ROOT, check=True, capture_output=True, text=True)
    for module in listed.stdout.split():
        path = Path(*module.split("."))
        source = path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")
        (folder / source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, folder / source)


def compile_modules(*folders: Path) -> None:
    """Byte code beside the sources, for each Python that is installed here: a Lambda's folder is read-only, so that without it every
    cold start compiles. Valid whatever the sources' dates; by a fresh interpreter each time, or the bytes would differ.
    """
    for python in PYTHONS:
        interpreter = sys.executable if python == HERE else shutil.which(f"python{python}")
        if interpreter is None or subprocess.run([interpreter, "-c", ""], check=False, capture_output=True).returncode:
            continue  # not installed; a version manager's stub of that name fails
        for folder in folders:
            command = [interpreter, "-I", "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash", "-s", str(folder), str(folder)]
            subprocess.run(command, check=True)


def pack(archive: Path, *folders: Path) -> Path:
    """All files of the folders, in one order and with one date."""
    files = {path.relative_to(folder): path for folder in folders for path in folder.rglob("*") if path.is_file()}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, path in sorted(files.items()):
            entry = zipfile.ZipInfo(name.as_posix())  # dated 1980-01-01
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            file.writestr(entry, path.read_bytes())
    return archive


def check(archive: Path, module: str) -> None:
    """Import the handler's module from the zip's content alone: no site-packages, no environment, no checkout."""
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(archive).extractall(folder)  # as Lambda does: a C extension cannot be loaded from within a zip
        code = f"import sys; sys.path.insert(0, {folder!r}); import {module}"
        subprocess.run([sys.executable, "-I", "-S", "-W", "error", "-c", code], check=True, cwd=folder)


def main() -> None:
    """Build both and say how large they are."""
    parser = argparse.ArgumentParser(description="Build the two Lambdas' packages.")
    parser.add_argument("--arch", choices=PLATFORMS, default=MACHINE, help="of the Lambda (default: this machine's)")
    parser.add_argument("--to", type=Path, default=ROOT / "build", help="folder of the zips")
    given = parser.parse_args()
    for archive in build(given.arch, given.to):
        print(f"{archive}: {archive.stat().st_size / 1e6:.2f} MB, {given.arch}, Python {' and '.join(PYTHONS)}")


if __name__ == "__main__":
    main()
