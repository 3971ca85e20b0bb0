"""Connections to Redis, alone or as a cluster, for whoever keeps something there. Nothing here waits long."""

import asyncio
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

Client = Redis | RedisCluster

FAILURES = (RedisError, RedisClusterException, OSError, EOFError, TimeoutError, RuntimeError)
"""What a command may raise, other than a defect of ours.

RuntimeError is what uvloop raises where redis-py writes to a connection that the server has just closed.
"""


async def connect(url: str, *, connections: int, deadline: float) -> Client:
    """Return a client of the server at `url`, or of the cluster that it belongs to; raises one of FAILURES.

    connections  most that are open at a time; a command waits for one
    deadline     seconds until it must be known

    Commands have no time-out of their own: whoever gives one sets its deadline.
    """
    # Without a library name a new connection costs two round trips less. Its own time-out for sockets is off: it comes
    # with an `asyncio.wait_for` around each command, which up to Python 3.11 may take no notice of a deadline that ends
    # in the moment in which the command has been sent.
    options: dict[str, Any] = {
        "max_connections": connections,
        "driver_info": None,
        "protocol": 2,
        "socket_timeout": None,
    }
    pool: Any = BlockingConnectionPool.from_url(url, timeout=None, retry=Retry(NoBackoff(), 1), **options)
    single = Redis.from_pool(pool)
    async with asyncio.timeout(deadline):
        try:
            facts: Any = await single.info("cluster")
            if not facts.get("cluster_enabled"):
                return single
        except BaseException:
            await single.aclose()
            raise
        await single.aclose()
        cluster = RedisCluster.from_url(url, retry=Retry(NoBackoff(), 1), **options)
        try:
            await cluster.initialize()
        except BaseException:
            await cluster.aclose()
            raise
        return cluster
