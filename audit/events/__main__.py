"""`python -m audit.events DIRECTORY` writes the JSON Schemas."""

import sys
from pathlib import Path

from audit.events.schemas import write_schemas

write_schemas(Path(sys.argv[1]))
