"""What a caller may do: to read takes the read scope, to write what the view says: trade, unless it says more."""

from typing import TYPE_CHECKING

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from trading.authentication import Caller, configuration
from trading.conf import Scope

if TYPE_CHECKING:
    # Settings name this module as a default, and importing REST framework's views reads those defaults.
    from rest_framework.views import APIView


class ScopeNeeded(BasePermission):
    """Nobody known: 401. Known, but with too small a scope: 403, saying which would do.

    A view says in `write_scope` what its writing methods take.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """Raises PermissionDenied for a caller whose scope is too small."""
        if not isinstance(request.auth, Caller):
            return False
        writes = request.method not in SAFE_METHODS
        require(request.auth, getattr(view, "write_scope", Scope.TRADE) if writes else Scope.READ)
        return True


class OpenInDemo(ScopeNeeded):
    """Anybody in demo mode; else whoever may read."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return configuration().demo_mode or super().has_permission(request, view)


def require(caller: Caller, wanted: Scope) -> None:
    """Raises PermissionDenied unless the caller's scope covers *wanted*."""
    if not caller.scope.covers(wanted):
        raise PermissionDenied(f"this takes a token with scope {wanted}; {caller.name} has {caller.scope}")
