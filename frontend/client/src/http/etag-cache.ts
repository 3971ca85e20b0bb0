/** Remembers responses with an ETag. */

const MAX_ENTRIES = 64;
const MAX_CACHED_BYTES = 16_000_000;

interface CachedResponse {
  etag: string;
  value: unknown;
  bytes: number;
}

/** Responses by URL and request headers, revalidated with If-None-Match; bounded by entries and bytes, LRU. */
export class EtagCache {
  #entries = new Map<string, CachedResponse>();
  #bytes = 0;

  get(key: string): CachedResponse | undefined {
    const found = this.#entries.get(key);
    if (found) {
      this.#entries.delete(key);
      this.#entries.set(key, found);
    }
    return found;
  }

  set(key: string, entry: CachedResponse): void {
    this.delete(key);
    this.#entries.set(key, entry);
    this.#bytes += entry.bytes;
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= MAX_ENTRIES && this.#bytes <= MAX_CACHED_BYTES) break;
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    this.#bytes -= this.#entries.get(key)?.bytes ?? 0;
    this.#entries.delete(key);
  }
}
