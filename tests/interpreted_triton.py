"""Triton's interpreter, faster: it patches the language anew at each call of a device function, most of its time; here once for the process."""

from functools import cache
from types import SimpleNamespace


@cache
def hasten() -> None:
    """Patch the language for good, and never again."""
    import triton.language as tl
    from triton.runtime import interpreter

    interpreter._patch_lang(SimpleNamespace(__globals__={"tl": tl, "core": tl.core}))
    interpreter._patch_lang = lambda function: interpreter._LangPatchScope()
