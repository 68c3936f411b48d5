"""A route that FastAPI describes as any other, and whose requests it hands over as they are."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute


class DirectRoute(APIRoute):
    """Its endpoint takes the request alone and gives a response, which nothing looks through.

    Finding parameters and checking an answer against its own type take as long as all the rest
    that the event loop does for a picture; and the loop is what all requests share.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint itself."""
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler
