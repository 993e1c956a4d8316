# For the checker av is untyped: what its annotations promise is narrower or wider than what its functions return.
from typing import Any

def __getattr__(name: str) -> Any: ...
