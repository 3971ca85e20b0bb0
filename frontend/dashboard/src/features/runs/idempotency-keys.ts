/** Idempotency keys: the same request, sent again, is the same run. */

const makeKey = () => crypto.randomUUID?.() ?? String(Math.random()).slice(2);

export class RequestKeys {
  private sent = "";
  private key = "";

  /** Return the key of a request: the last one's if it is the same, for its answer may have been lost. */
  keyOf(request: unknown): string {
    const text = JSON.stringify(request);
    if (text !== this.sent) {
      this.sent = text;
      this.key = makeKey();
    }
    return this.key;
  }
}
