"""The register of AI systems: the table `systems` of the policies, read whole for evidence.

Rules and evidence read the same entry, so that what is on paper and what is enforced cannot differ.
"""

from compliance.register.checking import Remark, remarks
from compliance.register.differences import Difference, differences
from compliance.register.loading import Register, load_register
from compliance.register.model import AiSystem

__all__ = ["AiSystem", "Difference", "Register", "Remark", "differences", "load_register", "remarks"]
