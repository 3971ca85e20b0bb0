"""`python -m bff_proxy` runs the proxy."""

from bff_proxy.app import create_app
from bff_proxy.settings import ProxySettings
from bff_shared.serve import run

if __name__ == "__main__":
    run(ProxySettings, "bff_proxy.app", create_app)
