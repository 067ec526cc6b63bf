"""The expression language: ``${{ EXPR }}`` in a document's strings, and bare conditions.

``parse`` and ``condition`` give an ``Expression``, ``template`` a ``Template``; both list the names they read
and are evaluated against ``Names``, purely, within a bounded time. ``ExpressionError`` is the only error that
any of it raises.
"""

from flowctl.expressions.frame import Names, SecretRef
from flowctl.expressions.function import Function
from flowctl.expressions.functions import FUNCTIONS, SPECIAL_FORMS, extended
from flowctl.expressions.parse import Expression, condition, parse
from flowctl.expressions.templates import Parts, Rendered, Template, template

__all__ = [
    "FUNCTIONS",
    "SPECIAL_FORMS",
    "Expression",
    "Function",
    "Names",
    "Parts",
    "Rendered",
    "SecretRef",
    "Template",
    "condition",
    "extended",
    "parse",
    "template",
]
