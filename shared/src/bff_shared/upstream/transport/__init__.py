"""HTTP/1.1 as a client, transparent to the byte: an httpx transport with a connection pool, on asyncio."""
