"""Tags the wheel: it bundles a shared library, but no extension module, so one wheel serves every Python."""

import sysconfig

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel


class PlatformWheel(bdist_wheel):
    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        machine = sysconfig.get_platform().rsplit("-", 1)[-1]
        # The oldest glibc that the library's symbols ask for: tests/test_wheel.py reads them.
        return "py3", "none", f"manylinux_2_34_{machine}"


class BinaryDistribution(Distribution):
    def has_ext_modules(self):
        return True


setup(cmdclass={"bdist_wheel": PlatformWheel}, distclass=BinaryDistribution)
