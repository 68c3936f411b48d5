"""The server as an application of Ray Serve, on one machine or a cluster.

    pip install 'clearhead[ray,serve]' 'ray[serve]'
    serve run deploy.ray_serve:app
    serve run deploy.ray_serve:build model=/models/letters replicas=4

Routes and protocol are those of `clearhead serve`; Ray Serve starts, checks and replaces the
replicas, and balances the requests.
"""

from typing import Any

from ray import serve
from ray.serve import Application

HOSTS = ("*",)  # Ray Serve's proxy is the only client; restrict hosts in front of it


def build(arguments: dict[str, Any]) -> Application:
    """An application with `replicas` of `model`, as for `clearhead serve --model`."""
    model, replicas = str(arguments.get("model", "digits")), int(arguments.get("replicas", 1))

    def make() -> Any:
        from clearhead.cli.serve import make_application, name_of
        from clearhead.serve import ServeConfig

        settings = ServeConfig(name=name_of(model), model_processes=1, allow_host=HOSTS)
        return make_application(model, settings)

    @serve.deployment(
        name="clearhead",
        num_replicas=replicas,
        ray_actor_options={"num_cpus": 1},
        health_check_period_s=10,
        graceful_shutdown_timeout_s=20,
    )
    @serve.ingress(make)
    class Clearhead:
        """A replica: the ASGI application with its model process."""

    return Clearhead.bind()  # type: ignore[attr-defined]


app = build({})
