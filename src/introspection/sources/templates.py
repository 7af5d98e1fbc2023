"""A model's chat template: what it makes of a conversation, the same on every day, and what is wrong with it in a line.

transformers runs templates in a sandbox of jinja, out of which they reach nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

_FIXED_TIME = datetime(2024, 7, 26)  # Llama's templates print today's date: the tokens are to be the same tomorrow


class ChatTemplateError(ValueError):
    """The tokenizer's chat template cannot render a conversation; the message names the template."""


def rendered(tokenizer: Any, messages: Sequence[Mapping[str, str]], **options: bool) -> str:
    """A conversation as text. Raises ChatTemplateError, whatever the template leads jinja to raise."""
    from transformers.utils import chat_template_utils  # whoever has a tokenizer has it already

    try:
        template = tokenizer.get_chat_template()
        # a function that is given as an argument does not come through
        chat_template_utils._compile_jinja_template(template).globals["strftime_now"] = _strftime_now
        text = tokenizer.apply_chat_template(messages, tokenize=False, date_string=_strftime_now("%d %b %Y"), **options)
        text.encode()
    except Exception as error:
        reason = " ".join(f"{error}".split())[:300] or type(error).__name__
        raise ChatTemplateError(
            f"{template_of(tokenizer)} cannot render it: {reason}; mend the template, or give another model"
        ) from error
    return str(text)


def template_of(tokenizer: Any) -> str:
    """The words for a tokenizer's chat template, with where it is from."""
    place = getattr(tokenizer, "name_or_path", "")
    return f"the chat template of {place}" if place else "the chat template"


def _strftime_now(form: str) -> str:
    return _FIXED_TIME.strftime(form)
