"""What jaxconv knows about the primitives of JAX: one record for each, in one file by subject.

To support a primitive in every analysis, register a :class:`PrimitiveRecord` in a module of this
package; all of its modules are imported here, so a new one needs no other change.
"""

import importlib
import pkgutil

from jaxconv.jaxpr.primitives.registry import (
    DEFAULT,
    PrimitiveRecord,
    is_registered,
    record_of,
    register,
    register_rule,
)

__all__ = [
    "DEFAULT",
    "PrimitiveRecord",
    "is_registered",
    "record_of",
    "register",
    "register_rule",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
