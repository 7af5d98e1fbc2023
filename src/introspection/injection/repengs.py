"""repeng, imported: its control vectors. It is installed apart from the other dependencies, since it asks for numpy 1.

All that repeng 0.4.0 needs of numpy 1 is `np.float_`, in annotations that are evaluated while it is imported.
"""

from __future__ import annotations

from unittest import mock

import numpy as np

try:
    with mock.patch.object(np, "float_", np.float64, create=True):
        from repeng import ControlVector
except ModuleNotFoundError as error:
    if error.name != "repeng":
        raise
    raise ModuleNotFoundError(
        "repeng is not installed: pip install --no-deps repeng==0.4.0 (the README says why)", name="repeng"
    ) from error

__all__ = ["ControlVector"]
