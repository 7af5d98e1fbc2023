"""One injection tried by hand: any vector in any model, both arms side by side, in seconds.

    from introspection.workbench import Request, inject, open_model

    model = open_model("organism").loaded()
    found = inject(model, Request(concept="ocean", strength=60.0))
    print(found.answer.shift, found.gained)

request.py says what may be asked for and refuses the rest before any weight is read, vectors.py has the direction
(trained and kept, read from a file, drawn), measuring.py runs it, replies.py lets the model go on, outcome.py is what
was found, display.py shows that in a terminal. The measurement itself is that of the experiments: rows of the engine.
"""

from introspection.settings import OfNorm
from introspection.workbench.measuring import inject
from introspection.workbench.outcome import Outcome
from introspection.workbench.request import Request, RequestError
from introspection.workbench.subjects import open_model
from introspection.workbench.vectors import save, vector_of

__all__ = ["OfNorm", "Outcome", "Request", "RequestError", "inject", "open_model", "save", "vector_of"]
