// Made by `npm run generate` from the services' OpenAPI and schema/stream.schema.json; not to be edited.
export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** @enum {unknown} */
        Command: "play" | "pause" | "seek" | "speed" | "fps" | "step";
        /** @description A control; `ts`, `speed` and `fps` are older spellings of `pos` and `val`. */
        Ctrl: {
            cmd: components["schemas"]["Command"];
            fps?: number;
            pos?: string | number;
            speed?: number;
            /** @constant */
            t: "ctrl";
            ts?: string | number;
            val?: number;
        };
        /** @description A control was accepted: the control itself, and `echo`. */
        Echo: {
            cmd: components["schemas"]["Command"];
            /** @constant */
            echo: true;
            /** @constant */
            t: "ctrl";
        };
        /** @description Once, after the last frame of a run that is over. */
        End: {
            /** @constant */
            t: "end";
        };
        Equity: {
            ts: string;
            value: number;
        };
        /** @description A refused control, or why a close follows. */
        Err: {
            /** @enum {unknown} */
            code: "VALIDATION" | "RANGE" | "RUN_NOT_FOUND" | "UNAUTHORIZED" | "FORBIDDEN" | "STREAM_ERROR" | "TOO_LARGE" | "BUSY" | "INTERNAL";
            details?: Record<string, never>;
            msg: string;
            /** @constant */
            t: "err";
        };
        /** @description Once, when the whole run has been read, unless hello said so: how large it is. */
        Extent: {
            /** @description time of the first */
            from: string | null;
            /** @constant */
            t: "extent";
            /** @description time of the last */
            to: string | null;
            /** @description source frames */
            total: number;
        };
        /** @description `n` source frames up to index `seq`, merged; further fields are those of the last one. */
        Frame: {
            /** @description frames that a slow connection has been spared */
            dropped: number;
            equity: components["schemas"]["Equity"] | null;
            /** @description source frames covered */
            n: number;
            ohlc: components["schemas"]["Ohlc"] | null;
            orders: Record<string, never>[];
            /** @description index of the last of them */
            seq: number;
            /** @constant */
            t: "frame";
            /** @description start of the last frame covered, ISO 8601, UTC */
            ts: string;
        };
        Heartbeat: {
            /** @constant */
            t: "hb";
        };
        /** @description First: what is played, where the viewer stands, how fast it goes. */
        Hello: {
            /** @description names the reading of the run that `seq` counts in; null until a status tells it */
            epoch: string | null;
            fps: number;
            from: string | null;
            resumed?: boolean;
            /** @description the last frame that the viewer has; -1 for none */
            seq: number;
            speed: number;
            /** @constant */
            t: "hello";
            to: string | null;
            /** @description source frames; null until it is known */
            total: number | null;
        };
        Ohlc: {
            c: number;
            h: number;
            l: number;
            o: number;
            v: number;
        };
        Ready: {
            /** @constant */
            t: "ready";
        };
        ReadyAck: {
            /** @constant */
            t: "ready_ack";
        };
        /** @description Why there are no frames, or that `seq` counts anew. */
        Status: {
            attempt?: number;
            epoch?: string;
            /** @description frames of the run that the backend sent in a form that nobody can read; they are missing */
            malformed?: number;
            /** @enum {unknown} */
            reason?: "changed" | "unknown" | "known";
            retry_ms?: number;
            /** @enum {unknown} */
            state: "waiting" | "reconnecting" | "live" | "epoch" | "draining";
            /** @constant */
            t: "status";
            ts?: string | null;
        };
        StreamMessage: components["schemas"]["Hello"] | components["schemas"]["Frame"] | components["schemas"]["Extent"] | components["schemas"]["Status"] | components["schemas"]["Err"] | components["schemas"]["Echo"] | components["schemas"]["End"] | components["schemas"]["ReadyAck"] | components["schemas"]["Heartbeat"];
        ViewerMessage: components["schemas"]["Ctrl"] | components["schemas"]["Ready"] | components["schemas"]["Heartbeat"];
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
