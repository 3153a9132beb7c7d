"""A file that cannot be imported, since it wants a package that nobody has."""

import a_package_that_nobody_has


def good():
    return a_package_that_nobody_has.network()
