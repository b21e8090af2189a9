"""JSON as the service answers it."""

from __future__ import annotations

import json

as_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
"""Returns a value's JSON. Raises ValueError for numbers that JSON does not have."""
