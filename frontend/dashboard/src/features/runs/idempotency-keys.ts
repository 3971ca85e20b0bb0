/** Idempotency keys: the same request, sent again, is the same run. */

import { randomId } from "bff-client/lib/random-id";

export class IdempotencyKeys {
  private sent = "";
  private key = "";

  /** Return the key of a request: the last one's if it is the same, for its answer may have been lost. */
  keyOf(request: unknown): string {
    const text = JSON.stringify(request);
    if (text !== this.sent) {
      this.sent = text;
      this.key = randomId();
    }
    return this.key;
  }
}
