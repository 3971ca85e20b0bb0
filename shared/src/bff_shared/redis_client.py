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
    """
    # Without a library name a new connection costs two round trips less.
    options: dict[str, Any] = {"max_connections": connections, "driver_info": None, "protocol": 2}
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
