"""SGLang imports torchvision, whose builds go with a GPU build of torch; no test needs it."""

import sys
from importlib.util import find_spec
from types import ModuleType

if find_spec("sglang") and not find_spec("torchvision"):
    from transformers.utils import is_torchvision_available

    # It remembers the answer, and so does without what stands in below.
    assert not is_torchvision_available()
    for path in ("", ".io", ".transforms", ".transforms.functional"):
        module = sys.modules[f"torchvision{path}"] = ModuleType(f"torchvision{path}")
        module.InterpolationMode = None  # type: ignore[attr-defined]
        above, _, name = module.__name__.rpartition(".")
        if above:
            setattr(sys.modules[above], name, module)
