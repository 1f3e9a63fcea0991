"""Build the C core: libct and its helper programs with make, then the cffi extension against it."""

import os
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent


class BuildNative(build_ext):
    def run(self) -> None:
        subprocess.run(
            ["make", f"-j{os.cpu_count()}", "-C", str(ROOT / "native"), f"PYTHON={sys.executable}", "install"],
            check=True,
        )
        super().run()


setup(
    cffi_modules=["native/build_core.py:ffi"],
    cmdclass={"build_ext": BuildNative},
)
